// A looped head at work: where the chosen token looks in each loop, and what the last token would answer after it.

export default {
  render({ model, el, page }) {
    const letters = [...model.get("letters")], answers = [...model.get("answers")], loops = model.get("loops");
    const sequences = model.get("sequences").map((text) => [...text]), places = model.get("places");
    const many = sequences.length, length = sequences[0].length, size = letters.length, causal = model.get("causal");
    const rows = new Uint8Array(bytesOf(model, "rows"));
    const [logits, norms] = ["logits", "norms"].map((name) => new Float32Array(bytesOf(model, name)));
    const ends = { sequence: [1, many], loop: [0, loops], token: [1, length] }, state = { ...model.get("selected") };
    if (page) {
      const found = fromAddress(model.get("name"));
      for (const [key, [low, high]] of Object.entries(ends))
        if (/^\d{1,4}$/.test(found[key]) && found[key] >= low && found[key] <= high) state[key] = Number(found[key]);
    }
    const select = selector({ model, page }, state, refresh);

    // ---- what is chosen ---------------------------------------------------------------------------------------------
    const symbols = () => sequences[state.sequence - 1];
    const sees = (place) => !causal || place < state.token;
    const place = () => places[state.sequence - 1][state.token - 1]; // where the chosen token should look; 0: nowhere
    /** The chosen token's attention to a place, in the chosen loop. */
    function attention(to) {
      if (state.loop === 0 || !sees(to)) return 0;
      const from = state.token - 1, whole = causal ? (length * (length + 1)) / 2 : length ** 2;
      const start = causal ? (from * (from + 1)) / 2 : from * length;
      return rows[((state.loop - 1) * many + state.sequence - 1) * whole + start + to] / 255;
    }
    /** (V), the last token's, after so many loops. */
    function probabilities(loop) {
      const at = (loop * many + state.sequence - 1) * size, own = [...logits.subarray(at, at + size)], most = Math.max(...own);
      const raised = own.map((x) => Math.exp(x - most)), sum = raised.reduce((a, b) => a + b);
      return raised.map((x) => x / sum);
    }
    const answer = () => answers[state.sequence - 1];
    const right = () => letters.indexOf(answer());
    const highest = (values) => values.indexOf(Math.max(...values));
    const named = (at) => `token ${at + 1}, “${symbols()[at]}”`;
    const when = () => (state.loop ? `after loop ${state.loop}` : "before the first loop");

    // ---- what is on the page ----------------------------------------------------------------------------------------
    const quiet = { "data-lm-suppress-shortcuts": "true" };
    function slider(name) {
      const [min, max] = ends[name], words = make("span", {});
      const range = make("input", { type: "range", min, max, step: 1, input: () => select({ [name]: Number(range.value) }), ...quiet });
      range.disabled = min === max;
      const label = make("label", { class: "slide" }, words, range);
      label.show = () => {
        range.value = state[name];
        range.setAttribute("aria-valuetext", `${state[name]} of ${max}`);
        say(words, `${name} ${state[name]} of ${max}`);
      };
      return label;
    }
    const sliders = ["sequence", "loop"].map(slider);
    const radios = `token-${Math.random().toString(36).slice(2)}`, caption = make("legend", {});
    const cells = symbols().map((_, at) => {
      const change = () => select({ token: at + 1 }), hidden = { "aria-hidden": "true" };
      return make("label", {}, make("i", hidden), make("input", { type: "radio", name: radios, value: at + 1, change, ...quiet }),
        make("span", hidden), make("small", hidden)); // the input says it all
    });
    const told = make("p", { class: "told", "aria-live": "polite" });
    const bars = make("div", {}), line = make("div", {});
    el.classList.add("explorer");
    el.append(
      make("div", { role: "group", "aria-label": "Choose a sequence and a loop" }, ...sliders),
      make("fieldset", { class: "tokens" }, caption, ...cells),
      make("div", { class: "panels" }, bars, line),
      told,
      make("p", { class: "legend", text:
        "Click on a token, or use the arrow keys, to see where it looks: the darker, the more; per cent while the tokens have " +
        `the focus, or the pointer.${causal ? " Dashed: what the chosen token cannot see." : ""} ▼\u00a0where it should look, right after the latest earlier ` +
        `occurrence of the same symbol; and the right answer to the last token. Dashed line: a guess among ${size} symbols.` }),
    );

    // ---- the tokens: radio buttons, so that arrow keys work ---------------------------------------------------------
    function drawTokens() {
      say(caption, state.loop ? `where ${named(state.token - 1)}, looks` : "tokens, before the first loop");
      cells.forEach((cell, at) => {
        const [mark, input, letter, number] = cell.children, share = attention(at), due = place() > 0 && place() === at;
        const looked = !sees(at) ? "not seen" : state.loop ? `gets ${percent(share)} of the attention` : "not looked at yet";
        const label = `${named(at)}, ${looked}${due ? ", should be looked at" : ""}`;
        say(mark, due ? "▼" : "");
        say(letter, symbols()[at]);
        say(number, state.loop && sees(at) ? percent(share).replace("\u00a0%", "") : "");
        letter.className = sees(at) ? "" : "unseen";
        letter.style.setProperty("--share", share);
        input.checked = at === state.token - 1;
        input.setAttribute("aria-label", label);
        cell.title = label;
      });
    }

    // ---- the answer of the last token -------------------------------------------------------------------------------
    const TOP = 38, BOTTOM = 128, FRAME = { ticks: SHARES, left: 46, right: 8, top: TOP, bottom: BOTTOM, height: 164 };
    function drawBars() {
      const now = probabilities(state.loop), order = [...now.keys()].sort((a, b) => now[b] - now[a]);
      const list = order.filter((id) => now[id] >= 0.005).map((id) => `“${letters[id]}” ${percent(now[id])}`).join(", ");
      const label = `Probability of each symbol as the answer, ${when()}: ${list || "all below 1 %"}. Right is “${answer()}”.`;
      chart(bars, { ...FRAME, heading: `answer ${when()}`, label }, (from, to, y) => [words((from + to) / 2, BOTTOM + 30, "symbols"), ...now.flatMap((p, id) => {
        const step = (to - from) / size, x = from + (id + 0.5) * step, is = id === right();
        const bar = { x: x - 0.38 * step, y: y(p), width: 0.76 * step, height: BOTTOM - y(p), class: is ? "bar part-0" : "bar", "data-symbol": letters[id] };
        return [make("rect", bar), words(x, BOTTOM + 16, letters[id], is ? { "font-weight": "bold" } : {}), ...(is ? [words(x, y(p) - 4, "▼")] : [])];
      })]);
    }
    function drawLine() {
      const all = Array.from({ length: loops + 1 }, (_, loop) => probabilities(loop)[right()]);
      const label = `Probability of the right answer “${answer()}” over loops: ${percent(all[0])} before the first, ` +
        `${percent(all[state.loop])} ${state.loop ? when() : "now"}, ${percent(all[loops])} after the last.`;
      chart(line, { ...FRAME, heading: `the right answer, “${answer()}”`, label }, (from, to, y) => {
        const x = (loop) => from + 6 + (loop / loops) * (to - from - 12), chance = y(1 / size);
        return [
          make("line", { x1: from, x2: to, y1: chance, y2: chance, stroke: "currentColor", opacity: 0.7, "stroke-dasharray": "4 4" }),
          make("path", { class: "line", fill: "none", d: all.map((p, loop) => `${loop ? "L" : "M"}${x(loop).toFixed(1)} ${y(p).toFixed(1)}`).join("") }),
          make("g", { class: "cursor" }, make("circle", { cx: x(state.loop), cy: y(all[state.loop]), r: 4 })),
          words(x(0), BOTTOM + 16, 0), words(x(loops), BOTTOM + 16, loops), words((from + to) / 2, BOTTOM + 30, "loops"),
        ];
      });
    }

    // ---- words ------------------------------------------------------------------------------------------------------
    function tell() {
      const now = probabilities(state.loop), best = highest(now), title = model.get("titles")[state.sequence - 1];
      const ahead = best === right() ? ", the highest" : `; the highest, ${percent(now[best])}, has “${letters[best]}”`;
      const found = Math.min(...now) === now[best] ? ", as has every symbol" : ahead;
      const norm = norms[(state.loop * many + state.sequence - 1) * length + state.token - 1];
      const which = `Sequence ${state.sequence}${title && ` (${title})`}, ${when()}`;
      say(told, `${which}: the right answer, “${answer()}”, has a probability of ${percent(now[right()])}${found}. ` +
        (state.loop ? `${whereItLooks()} Its state now has a length of ${norm.toPrecision(2)}.` : "No token has looked anywhere, and all states are zero."));
    }
    function whereItLooks() {
      const shares = symbols().map((_, at) => attention(at)), most = highest(shares), who = named(state.token - 1).replace(/^t/, "T");
      const there = place(), to = named(most), by = percent(shares[most]);
      if (!there) return `${who}, did not occur before, so that nothing is right for it to look at; it looks most at ${to} (${by}).`;
      const mainly = there === most ? ", the most" : `; the most, ${by}, goes to ${to}`;
      return `${who}, should look at ${named(there)}: that gets ${percent(shares[there])} of its attention${mainly}.`;
    }

    function refresh() {
      sliders.forEach((label) => label.show());
      drawTokens();
      drawBars();
      drawLine();
      tell();
    }
    return keepUp({ model, el }, state, refresh);
  },
};
