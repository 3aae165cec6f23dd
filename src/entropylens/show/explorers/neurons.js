// A model's FFN neurons as keys and values: where in the prefix trie each fires, and which next symbols it promotes.

export default {
  render({ model, el, page }) {
    const controls = model.get("choices").map(([name, values]) => ({ name, values }));
    const { layer: layers, order: orders, neuron: numbers } = Object.fromEntries(controls.map((c) => [c.name, c.values]));
    const activations = new Uint8Array(bytesOf(model, "activations")), weights = new Float32Array(bytesOf(model, "contexts"));
    const facts = model.get("facts"), rules = model.get("rules"), letters = model.get("letters"), length = model.get("length");
    const nodes = weights.length, state = { ...model.get("selected") };
    if (page) {
      const found = fromAddress(model.get("name"));
      for (const { name, values } of controls) if (values.includes(found[name])) state[name] = found[name];
    }

    // ---- contexts and neurons ---------------------------------------------------------------------------------------
    const trie = trieOf(letters, length), { spell } = trie;
    const ofLayer = () => facts[layers.indexOf(state.layer)];
    const fact = () => ofLayer()[numbers.indexOf(state.neuron)];
    /** Of the chosen neuron, as a share of its peak. */
    const activation = (node) => {
      const place = layers.indexOf(state.layer) * numbers.length + numbers.indexOf(state.neuron);
      return activations[place * nodes + node] / 255;
    };
    const sorted = () => {
      const key = ["matters", "rate"][orders.indexOf(state.order)], of = ofLayer(), all = [...numbers.keys()];
      return key ? all.sort((a, b) => of[b][key] - of[a][key] || a - b) : all;
    };
    const percent = (share) => `${share > 0 && share < 0.01 ? (100 * share).toPrecision(1) : Math.round(100 * share)}\u00a0%`;

    const select = selector({ model, page }, state, refresh);

    // ---- what is on the page ----------------------------------------------------------------------------------------
    const groups = controls.slice(0, -1).map(({ name, values }) =>
      Object.assign(choice(name, values, state[name], (value) => select({ [name]: value })), { control: name }),
    );
    const quiet = { "data-lm-suppress-shortcuts": "true" };
    const cells = make("fieldset", { class: "neurons" });
    const told = make("p", { class: "told", "aria-live": "polite" });
    const picture = make("div", {});
    const context = make("input", {
      type: "text", size: length, maxlength: length - 1, spellcheck: "false", autocapitalize: "off", autocomplete: "off",
      input: () => point(trie.find(context.value.toLowerCase())), ...quiet,
    });
    const answer = make("output", { "aria-live": "polite" });
    const ask = make("label", {}, `one context (0 to ${length - 1} letters, ${letters[0]} to ${letters.at(-1)}): `, context);
    const bars = make("div", { class: "promoted" });
    const scale = (from, to, kind) => [`${from} `, make("span", { class: `scale ${kind}`, "aria-hidden": "true" }), ` ${to}`];
    const peak = make("p", { class: "legend" });
    el.classList.add("explorer");
    el.append(
      make("div", { class: "controls", role: "group", "aria-label": "Choose a layer, and how its neurons are shown" }, ...groups),
      cells,
      make("p", { class: "legend" }, "fires on ", ...scale("0", "100\u00a0% of inputs", "pale"),
        "   ×\u00a0never fires   ∅\u00a0only where no input goes"),
      told, picture, peak,
      make("p", {}, ask, " ", answer),
      make("div", { class: "panels" }, bars, make("p", { class: "legend", text:
        "What a neuron promotes is what it adds to each next symbol's logit directly, past later layers, at its mean " +
        "activation where it fires; centred over symbols. It matters as much as it moves a logit, on average over inputs. " +
        "Precision: on so many of the inputs that the rule names it fires. Recall: so many of the inputs on which it " +
        "fires does the rule name. F1 is their harmonic mean." })),
    );

    // ---- the neurons of a layer: radio buttons, so that arrow keys work ---------------------------------------------
    const radios = `neuron-${Math.random().toString(36).slice(2)}`;
    let inCells = null; // layer and order that they show
    function drawCells() {
      if (inCells !== state.layer + state.order) {
        cells.replaceChildren(make("legend", { text: `neurons of layer ${state.layer}` }), ...sorted().map(cell));
        inCells = state.layer + state.order;
      }
      cells.querySelectorAll("input").forEach((input) => (input.checked = input.value === state.neuron));
    }
    function cell(index) {
      const { fires, rate } = ofLayer()[index], number = numbers[index];
      const often = !fires ? "never fires" : rate ? `fires on ${percent(rate)} of inputs` : "fires only where no input goes";
      const label = `neuron ${number}, ${often}`;
      const change = () => select({ neuron: number });
      const look = { style: `--share: ${rate}`, class: fires ? "" : "dead", "aria-hidden": "true" };
      return make("label", { title: label },
        make("input", { type: "radio", name: radios, value: number, "aria-label": label, change, ...quiet }),
        make("span", { text: !fires ? "×" : rate ? number : "∅", ...look }));
    }

    // ---- the trie ---------------------------------------------------------------------------------------------------
    let drawn = null;
    function draw() {
      const label = `All ${nodes} contexts as a trie, shaded by the activation of neuron ${state.neuron} of layer ${state.layer}; ` +
        `${state.widths === "equal" ? "contexts of one length are equally large" : "areas in a row are in proportion to how often each occurs"}.`;
      drawn = icicle(picture, trie, { weights: state.widths === "equal" ? null : weights, shade: activation, label });
      point(trie.find(context.value.toLowerCase()));
    }

    /** Tell of a context and mark it; null: what was typed spells none. */
    function point(node) {
      drawn.mark(node === null ? [] : [node]);
      if (node === null) return say(answer, `up to ${length - 1} letters, each ${letters[0]} to ${letters.at(-1)}, please`);
      const value = activation(node) * fact().peak;
      say(answer, `${node ? `“${spell(node)}”` : "at the start"}: ${percent(weights[node])} of inputs, ` +
        (value ? `activation ${value.toPrecision(2)}` : "silent"));
    }
    for (const kind of ["pointermove", "pointerdown"])
      picture.addEventListener(kind, ({ target }) => {
        if (!target.dataset.node || (kind === "pointermove" && document.activeElement === context)) return; // or is typing
        context.value = spell(Number(target.dataset.node));
        point(Number(target.dataset.node));
      });

    // ---- what it promotes, and in words -----------------------------------------------------------------------------
    function drawBars() {
      const most = Math.max(...ofLayer().flatMap(({ promotes }) => promotes.map(Math.abs)), 1e-9); // fills a half
      bars.replaceChildren(make("b", { text: "when it fires, each next symbol's logit" }), ...fact().promotes.map((value, id) => {
        const share = (50 * Math.abs(value)) / most, x = value < 0 ? 50 - share : 50;
        return make("div", {}, make("span", { text: letters[id] }),
          make("svg", { viewBox: "0 0 100 14", preserveAspectRatio: "none", "aria-hidden": "true" },
            make("rect", { x, y: 2, width: share, height: 10, class: value < 0 ? "part-0" : "part-1" }),
            make("line", { x1: 50, x2: 50, y1: 0, y2: 14, stroke: "currentColor", "vector-effect": "non-scaling-stroke" })),
          make("span", { text: `${signed(value, 2)} nats` }));
      }));
    }
    function tell() {
      const { fires, rate, rule, precision, recall, promotes } = fact(), who = `Neuron ${state.neuron} of layer ${state.layer}`;
      const up = promotes.indexOf(Math.max(...promotes)), down = promotes.indexOf(Math.min(...promotes));
      if (!fires) return `${who} is dead: it fires in none of the ${nodes} contexts.`;
      const what = `when it fires it promotes “${letters[up]}” (${signed(promotes[up], 2)} nats) ` +
        `and demotes “${letters[down]}” (${signed(promotes[down], 2)}).`;
      if (!rate) return `${who} fires in ${fires} of ${nodes} contexts, none of which an input reaches; ${what}`;
      const f1 = recall ? (2 * precision * recall) / (precision + recall) : 0, always = (2 * rate) / (1 + rate);
      return `${who} fires in ${fires} of ${nodes} contexts (${percent(rate)} of inputs), which this simple rule predicts best: ` +
        `${rules[rule]} (precision ${percent(precision)}, recall ${percent(recall)}; F1 ${f1.toFixed(2)}, ` +
        `against ${always.toFixed(2)} of “${rules[0]}”); ${what}`;
    }

    function refresh() {
      groups.forEach((group) => group.show(state[group.control]));
      drawCells();
      say(told, tell());
      peak.replaceChildren("silent: blank; activation ", ...scale("0", fact().peak.toPrecision(2), "full"),
        `   longest contexts: ${length - 1} symbols, the last one stacked`);
      drawBars();
      draw();
    }
    return keepUp({ model, el }, state, refresh);
  },
};
