// What one trained model learned, sentence by sentence, and who is responsible for its entropy, at any step of the way.

const PARTS = [
  ["sample_bias", "the sample did", "H(p̂) − H(p_tgt)"],
  ["model_bias", "the model added", "H(pθ) − H(p̂)"],
  ["bias", "together", "H(pθ) − H(p_tgt)"],
];

const PALE = 0.3; // of points that are not those of the chosen step

export default {
  render({ model, el, page }) {
    const controls = model.get("choices").map(([name, values, words]) => ({ name, values, words }));
    const bytes = (name) => {
      const view = model.get(name);
      return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    };
    const learned = bytes("learned"), targets = bytes("target"), samples = bytes("seen");
    const courses = new Float32Array(bytesOf(model, "courses")), steps = model.get("steps");
    const models = model.get("models"), letters = model.get("letters"), length = model.get("length");
    const size = letters.length ** length, decades = model.get("decades");

    // ---- state: from the address in a page, from Python in JupyterLab, and back -------------------------------------
    const state = { ...model.get("selected") };
    if (page) {
      const found = fromAddress(model.get("name"));
      for (const { name, values } of controls) if (values.includes(found[name])) state[name] = found[name];
      if (steps.map(String).includes(found.step)) state.step = found.step;
    }
    const now = () => steps.indexOf(Number(state.step)), ended = () => now() === steps.length - 1;
    /** The chosen model: its numbers after the chosen step, and the parts of the arrays that are its own. */
    const chosen = () => {
      const place = controls.reduce((sum, { name, values }) => sum * values.length + values.indexOf(state[name]), 0);
      const one = models[place], part = (array, row) => array.subarray(row * size, (row + 1) * size);
      const seen = one.seen < 0 ? null : part(samples, one.seen);
      const course = [0, 1, 2].map((i) => courses.subarray((3 * place + i) * steps.length, (3 * place + i + 1) * steps.length));
      return { ...one, ...snapshot(one, course, now()), learned: part(learned, one.learned), truth: part(targets, one.target), seen };
    };
    const select = selector({ model, page }, state, refresh);

    // ---- what is on the page ----------------------------------------------------------------------------------------
    const groups = controls.map(({ name, values }) =>
      Object.assign(choice(name, values, state[name], (value) => select({ [name]: value })), { control: name }),
    );
    const [told, heard] = announced();
    const step = slider([0, steps.length - 1, steps.length - 1], {
      name: "training step", value: now, shown: () => `${state.step} of ${steps.at(-1)}`,
      changed: (i) => select({ step: String(steps[i]) }),
    });
    const canvas = make("canvas", { role: "img" });
    const bars = make("div", { class: "bars" }), scale = make("p", { class: "legend" }), course = make("div", { class: "course" });
    const sentence = make("input", {
      type: "text", size: length + 1, maxlength: length, placeholder: letters.slice(0, length), spellcheck: "false",
      autocapitalize: "off", autocomplete: "off", "data-lm-suppress-shortcuts": "true", input: () => draw(),
    });
    const answer = make("output", { "aria-live": "polite" });
    const ask = make("label", {}, `one sentence (${length} letters, ${letters[0]} to ${letters.at(-1)}): `, sentence);
    const legend = make("p", { class: "legend" });
    el.classList.add("explorer", "models");
    el.append(
      make("div", { class: "controls", role: "group", "aria-label": "Choose a model" }, ...groups),
      step, told, heard,
      make("div", { class: "panels" }, make("div", {}, canvas, legend), make("div", {}, bars, scale, course)), make("p", {}, ask, " ", answer),
    );

    // ---- words ------------------------------------------------------------------------------------------------------
    function tell() {
      const one = chosen();
      const where = controls.map(({ name, words }) => words.replace("{}", state[name])).join(", ");
      const split = one.seen
        ? ` The sample alone lies ${signed(one.sample_bias)}; the model adds ${signed(one.model_bias)}.`
        : " Nothing in its data has a lower entropy than the target.";
      const when = ended() ? "the model ends" : `after ${state.step} of ${steps.at(-1)} steps the model lies`;
      told.tell(
        `${where}: ${when} ${signed(one.bias)} nats from its target's entropy of ${one.target_entropy.toFixed(2)}, at a divergence ` +
        `KL(p_tgt‖pθ) of ${one.kl.toFixed(3)} nats and a training loss of ${one.loss.toFixed(3)}.${split}`);
      canvas.setAttribute("aria-label",
        `Scatter of all ${size} sentences, learned against true probability at the end of training, both logarithmic, for ${where}.`);
      const key = one.seen ? "● in the sample   ○ never seen    dashed: learned = true" : "● each sentence    dashed: learned = true";
      legend.textContent = ended() ? key : `${key}\nPale, since it is that of the end, step ${steps.at(-1)}: of the steps before, only numbers are kept.`;
    }

    function answerSentence({ truth, learned, seen }) {
      const index = position(sentence.value);
      if (index === null) {
        say(answer, sentence.value ? `${length} letters, each ${letters[0]} to ${letters.at(-1)}, please` : "");
        return null;
      }
      const p = (byte) => byte === 0 ? `below 10^−${decades}` : `about ${(10 ** (decades * (byte / 255 - 1))).toPrecision(2)}`;
      const times = seen ? `, ${seen[index] === 255 ? "255 or more" : seen[index]} × in the sample` : "";
      say(answer, `true probability ${p(truth[index])}, learned ${ended() ? "" : "in the end "}${p(learned[index])}${times}`);
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
      const one = chosen();
      frame = scatter(canvas, el, { ...one, decades, strength: ended() ? 1 : PALE });
      if (!ended()) banner(frame.g, `at the end of training, step ${steps.at(-1)}`, (frame.x(0) + frame.x(255)) / 2);
      const index = answerSentence(one);
      if (index !== null) ring(frame.g, frame.ink, frame.x(one.truth[index]), frame.y(one.learned[index]));
    }
    /** Words over the points, in the middle at x. */
    function banner(g, text, x) {
      g.font = `bold ${g.font}`;
      g.textAlign = "center";
      g.fillStyle = getComputedStyle(el).color;
      g.fillText(text, x, 18);
    }
    function ring(g, ink, cx, cy) {
      g.strokeStyle = ink;
      g.lineWidth = 2;
      g.beginPath();
      g.arc(cx, cy, 7, 0, 2 * Math.PI);
      g.stroke();
    }

    function drawBars() {
      const n = chosen(), reach = Math.max(n.reach, 1e-9); // the longest of all steps fills a half
      bars.replaceChildren(...PARTS.map(([key, words, formula], row) => {
        const share = (50 * Math.abs(n[key])) / reach, left = n[key] < 0 ? 50 - share : 50;
        const svg = make("svg", { viewBox: "0 0 100 14", preserveAspectRatio: "none", "aria-hidden": "true" },
          make("rect", { x: left, y: 2, width: share, height: 10, class: `part-${row}` }),
          make("line", { x1: 50, x2: 50, y1: 0, y2: 14, stroke: "currentColor", "vector-effect": "non-scaling-stroke" }));
        return make("div", {}, make("span", { text: words }), make("b", { text: `${signed(n[key])} nats` }),
          svg, make("small", { text: formula }));
      }));
      scale.textContent = `from the middle to the edge: ${reach.toFixed(2)} nats, the most at any step`;
    }

    let nearest = () => 0; // to a share of the width of the course, which snapshot
    const drag = (event) => {
      if (event.type === "pointermove" && !event.buttons) return; // hovering would take the step away from the keyboard
      const box = course.querySelector("svg").getBoundingClientRect(), found = nearest((event.clientX - box.left) / box.width);
      if (found !== now()) select({ step: String(steps[found]) });
    };
    for (const kind of ["pointermove", "pointerdown"]) course.addEventListener(kind, drag);

    function refresh() {
      groups.forEach((group) => group.show(state[group.control]));
      step.show();
      tell();
      drawBars();
      nearest = drawCourse(course, steps, chosen(), now());
      draw();
    }

    const point = (event) => {
      if (document.activeElement === sentence) return; // the reader is typing
      const box = canvas.getBoundingClientRect(), px = event.clientX - box.left, py = event.clientY - box.top;
      const { truth, learned } = chosen();
      let best = 12 ** 2, found = null;
      for (let i = 0; i < size; i++) {
        const dx = frame.x(truth[i]) - px, dy = frame.y(learned[i]) - py;
        if (dx * dx + dy * dy < best) (best = dx * dx + dy * dy), (found = i);
      }
      if (found !== null && sentence.value !== spell(found)) (sentence.value = spell(found)), draw();
    };
    for (const kind of ["pointermove", "pointerdown"]) canvas.addEventListener(kind, point);
    return keepUp({ model, el }, state, refresh);
  },
};
