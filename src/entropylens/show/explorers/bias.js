// Claim 1's explorer: what one model learned, sentence by sentence, and who is responsible for its entropy.

const PARTS = [
  ["sample_bias", "the sample did", "H(p̂) − H(p_tgt)"],
  ["model_bias", "the model added", "H(pθ) − H(p̂)"],
  ["bias", "together", "H(pθ) − H(p_tgt)"],
];

export default {
  render({ model, el, page }) {
    const choices = model.get("choices");
    const bytes = (name) => {
      const view = model.get(name);
      return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    };
    const learned = bytes("learned"), target = bytes("target"), seen = bytes("seen");
    const numbers = model.get("numbers"), letters = model.get("letters"), length = model.get("length");
    const size = letters.length ** length, decades = model.get("decades");
    const reach = Math.max(...numbers.flatMap((n) => PARTS.map(([key]) => Math.abs(n[key]))));

    // ---- state: from the address in a page, from Python in JupyterLab, and back -------------------------------------
    const state = { ...model.get("selected") };
    if (page) {
      for (const [name, value] of Object.entries(fromAddress("bias"))) {
        if (choices[name]?.includes(value)) state[name] = value;
      }
    }
    const at = (name) => choices[name].indexOf(state[name]);
    const dataAndSeed = () => at("data") * choices.seed.length + at("seed");
    const one = () => at("width") * choices.data.length * choices.seed.length + dataAndSeed();
    const select = (change) => {
      Object.assign(state, change);
      model.set("selected", { ...state });
      model.save_changes();
      if (page) toAddress("bias", state);
      refresh();
    };

    // ---- what is on the page ----------------------------------------------------------------------------------------
    const groups = Object.keys(choices).map((name) =>
      Object.assign(choice(name, choices[name], state[name], (value) => select({ [name]: value })), { control: name }),
    );
    const told = make("p", { class: "told", "aria-live": "polite" });
    const canvas = make("canvas", { role: "img" });
    const bars = make("div", { class: "bars" });
    const sentence = make("input", {
      type: "text", size: length + 1, maxlength: length, placeholder: letters.slice(0, length), spellcheck: "false",
      autocapitalize: "off", autocomplete: "off", "data-lm-suppress-shortcuts": "true", input: () => refresh(),
    });
    const answer = make("output", { "aria-live": "polite" });
    const ask = make("label", {}, `one sentence (${length} letters, ${letters[0]} to ${letters.at(-1)}): `, sentence);
    const legend = make("p", { class: "legend" });
    el.classList.add("explorer");
    el.append(
      make("div", { class: "controls", role: "group", "aria-label": "Choose a model" }, ...groups),
      told, make("div", { class: "panels" }, make("div", {}, canvas, legend), bars), make("p", {}, ask, " ", answer),
    );

    // ---- words ------------------------------------------------------------------------------------------------------
    const sampled = () => state.data.startsWith("sample");
    function tell() {
      const n = numbers[one()];
      const where = `d = ${state.width}, ${state.data}, seed ${state.seed}`;
      const split = sampled()
        ? ` The sample alone lies ${signed(n.sample_bias)}; the model adds ${signed(n.model_bias)}.`
        : " Nothing in its data has a lower entropy than the target.";
      told.textContent =
        `${where}: the model ends ${signed(n.bias)} nats from its target's entropy of ${n.target_entropy.toFixed(2)}, ` +
        `at a divergence KL(p_tgt‖pθ) of ${n.kl.toFixed(3)} nats.${split}`;
      canvas.setAttribute("aria-label",
        `Scatter of all ${size} sentences, learned against true probability, both logarithmic, for ${where}.`);
      legend.textContent = sampled()
        ? "● in the sample   ○ never seen    dashed: learned = true"
        : "● each sentence    dashed: learned = true";
    }

    function answerSentence() {
      const index = position(sentence.value);
      if (index === null) {
        answer.textContent = sentence.value ? `${length} letters, each ${letters[0]} to ${letters.at(-1)}, please` : "";
        return null;
      }
      const p = (byte) => (byte === 0 ? `below 10^−${decades}` : `about ${(10 ** (decades * (byte / 255 - 1))).toPrecision(2)}`);
      const times = seen[dataAndSeed() * size + index];
      answer.textContent =
        `true probability ${p(target[at("seed") * size + index])}, learned ${p(learned[one() * size + index])}` +
        (sampled() ? `, ${times === 255 ? "255 or more" : times} × in the sample` : "");
      return index;
    }
    const position = (text) => {
      const ids = [...text.toLowerCase()].map((letter) => letters.indexOf(letter));
      return ids.length === length && !ids.includes(-1) ? ids.reduce((sum, id) => sum * letters.length + id, 0) : null;
    };
    const spell = (index) =>
      Array.from({ length }, (_, i) => letters[Math.floor(index / letters.length ** (length - 1 - i)) % letters.length]).join("");

    // ---- pictures ---------------------------------------------------------------------------------------------------
    let frame = null; // where things are on the canvas
    function draw() {
      const width = Math.max(220, Math.min(400, canvas.parentElement.clientWidth || 400));
      const style = getComputedStyle(el), ink = style.color, margin = 46;
      const dark = isDark(ink), filled = dark ? "#56B4E9" : "#0072B2", hollow = dark ? "#E69F00" : "#D55E00";
      const g = sharpContext(canvas, width, width);
      const inner = width - margin - 8;
      const x = (byte) => margin + (byte / 255) * inner, y = (byte) => 8 + inner - (byte / 255) * inner;
      frame = { x, y };
      g.font = `11px ${style.fontFamily}`;
      g.strokeStyle = g.fillStyle = ink;
      drawAxes(g, ink, margin, inner, width);
      const model_ = one() * size, truth = at("seed") * size, data = dataAndSeed() * size;
      for (const pass of [0, 1]) { // hollow ones first, so that the rare filled ones stay visible
        for (let i = 0; i < size; i++) {
          const isSeen = seen[data + i] > 0;
          if (Number(isSeen) !== pass) continue;
          g.beginPath();
          g.arc(x(target[truth + i]), y(learned[model_ + i]), isSeen ? 1.7 : 2, 0, 2 * Math.PI);
          g.globalAlpha = isSeen ? 0.55 : 0.5;
          if (isSeen) (g.fillStyle = filled), g.fill();
          else (g.strokeStyle = hollow), g.stroke();
        }
      }
      g.globalAlpha = 1;
      const index = answerSentence();
      if (index !== null) ring(g, ink, x(target[truth + index]), y(learned[model_ + index]));
    }

    function drawAxes(g, ink, margin, inner, width) {
      g.lineWidth = 1;
      g.textAlign = "right";
      g.textBaseline = "middle";
      for (let d = 0; d <= decades; d++) {
        const at_ = (d / decades) * inner, power = d - decades;
        g.globalAlpha = 0.18;
        g.beginPath();
        g.moveTo(margin + at_, 8), g.lineTo(margin + at_, 8 + inner);
        g.moveTo(margin, 8 + at_), g.lineTo(margin + inner, 8 + at_);
        g.stroke();
        g.globalAlpha = 1;
        const label = power === 0 ? "1" : `10${superscript(power)}`;
        if (d % 2 === decades % 2) {
          g.fillText(label, margin - 4, 8 + inner - at_);
          g.textAlign = "center";
          g.fillText(label, margin + at_, 8 + inner + 11);
          g.textAlign = "right";
        }
      }
      g.setLineDash([5, 4]);
      g.beginPath();
      g.moveTo(margin, 8 + inner), g.lineTo(margin + inner, 8);
      g.stroke();
      g.setLineDash([]);
      g.textAlign = "center";
      g.fillText("true probability, p_tgt", margin + inner / 2, width - 10);
      g.save();
      g.translate(9, 8 + inner / 2);
      g.rotate(-Math.PI / 2);
      g.fillText("learned probability, pθ", 0, 0);
      g.restore();
    }
    const superscript = (n) => String(n).replace("-", "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
    const isDark = (ink) => (ink.match(/\d+/g) ?? [0]).slice(0, 3).reduce((sum, c) => sum + Number(c), 0) > 384;
    function ring(g, ink, cx, cy) {
      g.strokeStyle = ink;
      g.lineWidth = 2;
      g.beginPath();
      g.arc(cx, cy, 7, 0, 2 * Math.PI);
      g.stroke();
    }

    function drawBars() {
      const n = numbers[one()];
      bars.replaceChildren(...PARTS.map(([key, words, formula], row) => {
        const share = (50 * Math.abs(n[key])) / reach, left = n[key] < 0 ? 50 - share : 50;
        const svg = make("svg", { viewBox: "0 0 100 14", preserveAspectRatio: "none", "aria-hidden": "true" },
          make("rect", { x: left, y: 2, width: share, height: 10, class: `part-${row}` }),
          make("line", { x1: 50, x2: 50, y1: 0, y2: 14, stroke: "currentColor", "vector-effect": "non-scaling-stroke" }));
        return make("div", {}, make("span", { text: words }), make("b", { text: `${signed(n[key])} nats` }),
          svg, make("small", { text: formula }));
      }));
    }

    function refresh() {
      groups.forEach((group) => group.show(state[group.control]));
      tell();
      drawBars();
      draw();
    }

    canvas.addEventListener("pointermove", (event) => {
      const box = canvas.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
      let best = 12 ** 2, found = null;
      for (let i = 0; i < size; i++) {
        const dx = frame.x(target[at("seed") * size + i]) - px, dy = frame.y(learned[one() * size + i]) - py;
        if (dx * dx + dy * dy < best) (best = dx * dx + dy * dy), (found = i);
      }
      if (found !== null && sentence.value !== spell(found)) (sentence.value = spell(found)), draw();
    });
    const fromPython = () => (Object.assign(state, model.get("selected")), refresh());
    model.on("change:selected", fromPython);
    const stop = keepDrawn(el, refresh);
    return () => (model.off("change:selected", fromPython), stop());
  },
};
