// A model at each prefix of a small language: what it predicts there, where it looks, and which of its neurons fire.

export default {
  render({ model, el, page }) {
    const trie = trieOf(model.get("letters"), model.get("length")), { size, nodes, depth, length } = trie, letters = [...trie.letters];
    const [edges, logs, activations] = ["edges", "log_q", "activations"].map((name) => new Float32Array(bytesOf(model, name)));
    const [looks, firing, strongest] = ["attention", "firing", "strongest"].map((name) => new Uint16Array(bytesOf(model, name)));
    const promotes = model.get("promotes"), layers = promotes.length, shown = strongest.length / layers / nodes;
    const heads = looks.length / layers / nodes / length, choices = model.get("choices"), state = { ...model.get("selected") };
    if (page) {
      const found = fromAddress(model.get("name"));
      for (const [name, values] of choices) if (values.includes(found[name])) state[name] = found[name];
      if (trie.find(found.at ?? "?") !== null) state.at = found.at;
    }
    const select = selector({ model, page }, state, refresh);

    // ---- what is known of a context ---------------------------------------------------------------------------------
    const sum = (values) => values.reduce((a, b) => a + b, 0);
    const mass = Float64Array.from({ length: nodes }, (_, node) => sum(edges.subarray(node * size, (node + 1) * size)));
    const target = (node) => letters.map((_, i) => (mass[node] ? edges[node * size + i] / mass[node] : null));
    const learned = (node) => letters.map((_, i) => Math.exp(logs[node * size + i]));
    /** What is paid on average where inputs go on from here, nats: all of it, and what no model could avoid. */
    function cost(node) {
      const p = target(node);
      if (!mass[node]) return { surprise: 0, own: 0, kl: 0 };
      const surprise = sum(p.map((share, i) => (share ? -share * logs[node * size + i] : 0)));
      const own = sum(p.map((share) => (share ? -share * Math.log(share) : 0)));
      return { surprise, own, kl: Math.max(0, surprise - own) };
    }
    const paid = Float64Array.from({ length: nodes }, (_, node) => mass[node] * cost(node).kl), inAll = sum(paid), worst = Math.max(...paid);
    /** The probability of a context's last letter after what precedes it. */
    const step = (of, node) => of(trie.parent(node))[(node - 1) % size];
    const SHADE = {
      target: (node) => (node ? step(target, node) ?? 0 : 0), model: (node) => (node ? step(learned, node) : 0), KL: (node) => paid[node] / worst,
    };
    const SAYS = {
      target: "how likely its last letter is in the target, after the others", model: "how likely its last letter is for the model, after the others",
      KL: "its part of the KL divergence, of the largest part",
    };
    const weights = Float32Array.from(mass);

    // ---- words ------------------------------------------------------------------------------------------------------
    /** Three digits, or two that say something; what 32-bit numbers cannot tell from 0 is 0. */
    const nats = (x) => (x < 1e-6 ? "0.000" : x >= 0.0095 ? x.toFixed(3) : Number(x.toPrecision(2)).toFixed(1 - Math.floor(Math.log10(x))));
    const share = (x) => (x === 0 ? "0\u00a0%" : x < 0.0095 ? `${Number((100 * x).toPrecision(1))}\u00a0%` : `${Math.round(100 * x)}\u00a0%`);
    const called = (node) => (node ? `“${trie.spell(node)}”` : "the start");
    const likeliest = (of) => of.indexOf(Math.max(...of));
    function tell(node) {
      const p = target(node), q = learned(node), { surprise, own, kl } = cost(node), best = likeliest(q);
      const guess = `the model's likeliest next letter is “${letters[best]}” (${q[best].toFixed(3)})`;
      if (!mass[node]) return told.tell(`At ${called(node)}: no sentence of the language begins so, and an error costs nothing. Still, ${guess}.`);
      const most = likeliest(p);
      told.tell(`At ${called(node)}, with which ${share(mass[node])} of sentences begin: ${guess}, the target's “${letters[most]}” (${p[most].toFixed(3)}). ` +
        `The model's surprise is ${nats(surprise)} nats on average, of which ${nats(own)} cannot be avoided; the rest is the KL divergence, ${nats(kl)}. Times how ` +
        `often it is met: ${nats(paid[node])}, or ${share(paid[node] / inAll)} of the ${nats(inAll)} in all.`);
    }

    // ---- what is on the page ----------------------------------------------------------------------------------------
    const groups = choices.map(([name, values]) =>
      Object.assign(choice(name, values, state[name], (value) => select({ [name]: value })), { control: name }));
    const [told, heard] = announced(), answer = make("output", { "aria-live": "polite" });
    const text = make("input", {
      type: "text", size: length, maxlength: length - 1, spellcheck: "false", autocapitalize: "off", autocomplete: "off",
      "data-lm-suppress-shortcuts": "true", input: () => typed(text.value.toLowerCase()),
    });
    const picture = make("div", {
      class: "walk", role: "slider", tabindex: 0, "aria-label": "Context in the trie", "aria-valuemin": 0, "aria-valuemax": nodes - 1,
      "data-lm-suppress-shortcuts": "true", keydown,
    });
    const [next, path, attended, fired] = [make("div", {}), ...["", " plain", " plain"].map((kind) => make("table", { class: `sums${kind}` }))];
    el.classList.add("explorer", "walker");
    el.append(
      make("div", { class: "controls", role: "group", "aria-label": "Choose how the trie is drawn" }, ...groups),
      make("p", {}, make("label", {}, `go to (0 to ${length - 1} letters, ${letters[0]} to ${letters.at(-1)}): `, text), " ", answer),
      picture,
      make("p", { class: "legend", text: "Click a context; or with the arrow keys: ← → its neighbours, ↑ one letter less, ↓ on with the model's likeliest letter. " +
        "Blank: less than 1\u00a0%. Ringed: where you are, and the way there." }),
      told, heard,
      make("div", { class: "panels" }, next, path),
      make("div", { class: "tables" }, attended, fired),
      make("p", { class: "legend", text: "p: target; q: model; –: no sentence begins so; all of it: products, and sums of nats. Attention: each head's weights on the context and what it begins with; " +
        `the last letter stands in brackets, □ is the empty prefix. Neurons, layer · number, counted from 0: of each layer up to ${shown} that move the logits most here; under each ` +
        "letter, what the neuron adds to its logit directly, in nats, centred over letters." }),
    );
    function typed(value) {
      const node = trie.find(value);
      say(answer, node === null ? `up to ${length - 1} letters, each ${letters[0]} to ${letters.at(-1)}, please` : "");
      if (node !== null) select({ at: value });
    }
    const goTo = (node) => (say(answer, ""), select({ at: trie.spell(node) }));
    function keydown(event) {
      const node = trie.find(state.at), first = trie.starts[depth[node]], last = trie.starts[depth[node] + 1] - 1;
      const down = depth[node] < length - 1 ? node * size + 1 + likeliest(learned(node)) : node;
      const to = { ArrowLeft: Math.max(first, node - 1), ArrowRight: Math.min(last, node + 1), ArrowUp: node && trie.parent(node), ArrowDown: down, Home: 0 };
      if (!(event.key in to) || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      goTo(to[event.key]);
    }
    picture.addEventListener("click", ({ target: { dataset } }) => dataset.node && goTo(Number(dataset.node)));

    // ---- pictures and tables ----------------------------------------------------------------------------------------
    function drawTrie(node) {
      const shade = (each) => (SHADE[state.shade](each) < 0.01 ? 0 : SHADE[state.shade](each));
      const label = `All ${nodes} contexts as a trie, each shaded by ${SAYS[state.shade]}; ` +
        `${state.widths === "equal" ? "contexts of one length are equally large" : "areas in a row are in proportion to how often each occurs"}.`;
      icicle(picture, trie, { weights: state.widths === "equal" ? null : weights, shade, label }).mark(node ? trie.path(node).slice(1).reverse() : [0]);
      picture.setAttribute("aria-valuenow", node);
      picture.setAttribute("aria-valuetext", node ? [...state.at].join(" ") : "the start");
    }
    function drawNext(node) {
      const p = target(node), q = learned(node), of = (share) => (share === null ? "–" : share.toFixed(3));
      const label = `What comes next at ${called(node)}: ${letters.map((letter, i) => `${letter}: target ${of(p[i])}, model ${of(q[i])}`).join("; ")}.`;
      const bars = [mass[node] ? "target, p" : "target: no sentence begins so", "model, q"];
      pairs(next, { heading: `next letter, at ${called(node)}`, label, names: letters, filled: p, hollow: q, called: bars, axis: "next letter" });
    }
    function drawPath(node) {
      const steps = trie.path(node).slice(1), of = (x) => (x === null ? "–" : x.toFixed(3)), surprise = (x) => (x === null ? "–" : x ? nats(-Math.log(x)) : "∞");
      const found = steps.map((each) => [step(target, each), step(learned, each)]);
      const whole = [mass[node], found.reduce((all, [, q]) => all * q, 1)];
      const rows = steps.map((each, i) => {
        const [p, q] = found[i];
        return [`${trie.spell(trie.parent(each)) || "□"} → ${trie.letter(each)}`, of(p), of(q), surprise(p), surprise(q)];
      });
      fill(path, "the way here", ["", "p", "q", "−log\u00a0p", "−log\u00a0q"], [...rows, ["all of it", ...whole.map((x) => (x > 0 && x < 1e-6 ? x.toExponential(1) : nats(x))), ...whole.map(surprise)]]);
    }
    function drawAttention(node) {
      const way = trie.path(node), rows = [];
      for (let layer = 0; layer < layers; layer++)
        for (let head = 0; head < heads; head++) {
          const at = ((layer * nodes + node) * heads + head) * length; // nearest first
          const row = way.map((_, i) => looks[at + way.length - 1 - i] / 65535);
          rows.push([`layer ${layer + 1}, head ${head + 1}`, ...row.map((weight) => [weight.toFixed(2), weight])]);
        }
      const names = way.map((each) => (each ? `${trie.spell(trie.parent(each))}[${trie.letter(each)}]` : "□"));
      fill(attended, "where each head looks", ["", ...names], rows);
    }
    function drawNeurons(node) {
      const rows = [], counts = [];
      for (let layer = 0; layer < layers; layer++) {
        counts.push(`${firing[layer * nodes + node]} of layer ${layer + 1}`);
        for (let i = 0; i < shown; i++) {
          const at = (layer * nodes + node) * shown + i, value = activations[at], neuron = strongest[at];
          if (!value) break;
          const adds = promotes[layer][neuron].map((x) => value * x), most = Math.max(...adds);
          rows.push([`${layer + 1} · ${neuron}`, value.toFixed(2), ...adds.map((x) => (x === most ? [signed(x, 2), 0.5] : signed(x, 2)))]);
        }
      }
      fill(fired, `neurons that fire: ${counts.join(", ")}, of ${promotes[0].length} each`, ["neuron", "fires", ...letters], rows);
    }

    function refresh() {
      const node = trie.find(state.at);
      groups.forEach((group) => group.show(state[group.control]));
      // being drawn anew, in another width or scheme, must not undo what is typed
      if (!answer.textContent && text.value.toLowerCase() !== state.at) text.value = state.at;
      drawTrie(node);
      drawNext(node);
      drawPath(node);
      drawAttention(node);
      drawNeurons(node);
      tell(node);
    }
    return keepUp({ model, el }, state, refresh);
  },
};
