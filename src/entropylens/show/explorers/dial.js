// The entropy of a few symbols, and of samples from them: a dial from even to certain, and how much too low samples are.

/** −x log x, nats. */
const part = (x) => (x ? -x * Math.log(x) : 0);
const entropy = (p) => p.reduce((all, x) => all + part(x), 0);

/** p in proportion to weights raised to β = dial / (1 − dial); as `turned` in Python. */
function turned(weights, dial) {
  const most = Math.max(...weights), beta = dial / (1 - dial);
  const raised = weights.map((w) => w && (w === most ? 1 : (w / most) ** beta)), all = raised.reduce((a, b) => a + b);
  return raised.map((x) => x / all);
}

/** The generator mulberry32: `uniforms` in Python. */
function uniforms(seed) {
  return () => {
    seed = (seed + 0x6d2b79f5) | 0;
    let z = Math.imul(seed ^ (seed >>> 15), seed | 1);
    z ^= z + Math.imul(z ^ (z >>> 7), z | 61);
    return ((z ^ (z >>> 14)) >>> 0) / 4294967296;
  };
}

/** p̂ of n symbols drawn from p. */
function drawn(p, n, seed) {
  const next = uniforms(seed), counts = p.map(() => 0), last = p.findLastIndex((x) => x > 0), up = [];
  p.forEach((x, i) => up.push(i < last ? x + (up[i - 1] ?? 0) : Infinity));
  for (let i = 0; i < n; i++) {
    const u = next();
    counts[up.findIndex((x) => u < x)]++;
  }
  return counts.map((k) => k / n);
}

/** E[H(p̂)] over samples of n, exactly: each count is binomial. Its probabilities from the likeliest count on, by ratios. */
function expected(p, n) {
  const mean = (share) => {
    const odds = share / (1 - share), mode = Math.min(n, Math.floor((n + 1) * share));
    let all = 1, sum = part(mode / n);
    for (let k = mode, r = 1; k < n && r > 1e-18; k++, all += r, sum += r * part(k / n)) r *= ((n - k) / (k + 1)) * odds;
    for (let k = mode, r = 1; k > 0 && r > 1e-18; k--, all += r, sum += r * part(k / n)) r *= k / (n - k + 1) / odds;
    return sum / all;
  };
  return p.reduce((all, x) => all + (x > 0 && x < 1 ? mean(x) : 0), 0);
}

export default {
  render({ model, el, page }) {
    const symbols = [...model.get("symbols")], sizes = model.get("sizes"), samples = model.get("samples");
    const ends = Object.fromEntries(model.get("ends").map(([name, ...end]) => [name, end])), state = { ...model.get("selected") };
    const possible = (chosen) => symbols.some((symbol) => chosen[symbol] > 0);
    if (page) {
      const found = fromAddress(model.get("name")), read = {};
      for (const [key, [low, high]] of Object.entries(ends))
        if (/^\d{1,2}(\.\d{1,6})?$/.test(found[key]) && found[key] >= low && found[key] <= high) read[key] = Number(found[key]);
      const whole = (key, known) => /^\d{1,5}$/.test(found[key]) && known(Number(found[key])) && (read[key] = Number(found[key]));
      whole("size", (size) => sizes.includes(size));
      whole("sample", (sample) => sample >= 1 && sample <= samples);
      if (possible({ ...state, ...read })) Object.assign(state, read);
    }
    const select = selector({ model, page }, state, refresh);

    // ---- words ------------------------------------------------------------------------------------------------------
    const nats = (x) => Math.abs(x).toFixed(3);
    const beside = (x) => (nats(x) === "0.000" ? "as much" : `${nats(x)} ${x < 0 ? "below" : "above"} H(p)`);
    const beta = () => (state.dial === 1 ? "∞" : (state.dial / (1 - state.dial)).toFixed(2));
    const WHERE = { 0: ", even", 0.5: ", as weighed", 1: ", certain" };
    function tell({ p, h, all, mean, thumb, k }) {
      const last = all.at(-1), own = all.reduce((a, b) => a + b) / all.length, { size, sample } = state;
      const so = sample > 1 ? ` The mean of samples 1 to ${sample} is ${nats(own)}.` : "";
      told.tell(
        `H(p)\u00a0=\u00a0${nats(h)} nats, or ${(h / Math.LN2).toFixed(3)} bits: as unpredictable as a fair choice among ${Math.exp(h).toFixed(2)} ` +
        `symbols, its perplexity. Sample ${sample}, ${size} symbol${size > 1 ? "s" : ""}: H(p̂)\u00a0=\u00a0${nats(last)} nats, ${beside(last - h)}.${so} ` +
        `Over all samples of ${size} the mean is ${nats(mean)}, too low by ${nats(h - mean)}; the rule of thumb says (K\u00a0−\u00a01)/2N\u00a0=\u00a0${nats(thumb)}, ` +
        `since K\u00a0=\u00a0${k} ${k > 1 ? "symbols are" : "symbol is"} possible.`);
    }

    // ---- what is on the page ----------------------------------------------------------------------------------------
    const weigh = (symbol) => (value) => select({ [symbol]: possible({ ...state, [symbol]: value }) ? value : ends[symbol][1] / ends[symbol][2] });
    const sliders = [
      ...symbols.map((symbol) => slider(ends[symbol], {
        name: `weight of ${symbol}`, value: () => state[symbol], shown: () => state[symbol].toFixed(1), changed: weigh(symbol),
      })),
      slider(ends.dial, {
        name: "dial: power β", value: () => state.dial, shown: () => beta() + (WHERE[state.dial] ?? ""), changed: (dial) => select({ dial }),
      }),
      slider([0, sizes.length - 1, sizes.length - 1], {
        name: "sample of N =", value: () => sizes.indexOf(state.size), shown: () => `${state.size}`, changed: (i) => select({ size: sizes[i] }),
      }),
    ];
    const again = make("button", { type: "button", "data-lm-suppress-shortcuts": "true",
      click: () => select({ sample: (state.sample % samples) + 1 }) });
    const bars = make("div", {}), curve = make("div", {}), sums = make("table", { class: "sums" }), [told, heard] = announced();
    el.classList.add("explorer", "dial");
    el.append(
      make("div", { role: "group", "aria-label": "Weigh the symbols, turn the dial, and choose a sample's size" }, ...sliders),
      make("div", { class: "cases" }, again),
      told, heard,
      make("div", { class: "panels" }, bars, curve),
      sums,
      make("p", { class: "legend", text:
        "p: the weights, raised to the power β and normalised. p̂: relative frequencies in the sample. −log p: surprise, in nats. " +
        "The mean over all samples is a sum over binomials, and no simulation; the rule of thumb is Miller and Madow's, drawn where it is above 0. " +
        "Small dots: the samples before this one, of the same size." }),
    );

    // ---- pictures and numbers ---------------------------------------------------------------------------------------
    const BOTTOM = 196, FRAME = { left: 42, right: 12, top: 70, bottom: BOTTOM, height: 230 };
    const left = { "text-anchor": "start", "dominant-baseline": "central" };
    function drawBars({ p, seen }) {
      const label = `Probabilities and frequencies: ${symbols.map((symbol, i) => `${symbol} ${percent(p[i])}, in the sample ${percent(seen[i])}`).join("; ")}.`;
      const called = ["p", `p̂, of ${state.size} drawn`];
      pairs(bars, { heading: "what is likely, and what was drawn", label, names: symbols, filled: p, hollow: seen, called, axis: "symbols" });
    }
    function drawCurve({ p, h, all, mean, k }) {
      const most = Math.log(symbols.length), ticks = [[0, "0"], [0.5, "0.5"], [1, "1"], [most, `log ${symbols.length}`]], far = Math.log10(sizes.at(-1));
      const label = `Entropy over sample size from 1 to ${sizes.at(-1)}. At ${state.size}: exact mean ${nats(mean)}, this sample ${nats(all.at(-1))}, source ${nats(h)} nats.`;
      const lines = [
        ["line", "mean of H(p̂) over all samples", sizes.map((n) => [n, expected(p, n)])],
        ["alone", "rule of thumb, H(p) − (K − 1)/2N", sizes.map((n) => [n, h - (k - 1) / (2 * n)]).filter(([, value]) => value >= 0)],
      ];
      chart(curve, { ...FRAME, heading: "entropy over sample size N, nats", label, ticks }, (from, to, y) => {
        const x = (n) => from + 6 + (Math.log10(n) / far) * (to - from - 12), at = x(state.size);
        return [
          make("line", { x1: from, x2: to, y1: y(h), y2: y(h), class: "source", stroke: "currentColor", "stroke-dasharray": "1 3" }),
          words(from + 4, y(h) - 6, "H(p)", { "text-anchor": "start" }),
          ...lines.flatMap(([kind, called, values], i) => [
            make("path", { class: kind, fill: "none", d: values.map(([n, v], j) => `${j ? "L" : "M"}${x(n).toFixed(1)} ${y(v).toFixed(2)}`).join("") }),
            make("path", { class: kind, fill: "none", d: `M0 ${28 + 16 * i}h24` }), words(30, 28 + 16 * i, called, left),
          ]),
          make("g", { class: "cursor" },
            make("line", { x1: at, x2: at, y1: FRAME.top - 4, y2: BOTTOM, stroke: "currentColor", opacity: 0.4 }),
            ...all.slice(0, -1).map((value) => make("circle", { class: "before", cx: at, cy: y(value), r: 2 })),
            make("circle", { cx: at, cy: y(all.at(-1)), r: 5, "data-nats": all.at(-1) })),
          ...[0, 1, 2, 3, 4].filter((power) => power <= far).map((power) => words(x(10 ** power), BOTTOM + 16, power < 3 ? 10 ** power : `10${"⁰¹²³⁴"[power]}`, power === far ? { "text-anchor": "end", dx: 8 } : {})),
          words((from + to) / 2, BOTTOM + 30, "sample size N (○ this sample)"),
        ];
      });
    }
    function drawSums({ p, seen, h, all }) {
      const rows = symbols.map((symbol, i) => [
        symbol, p[i].toFixed(3), p[i] ? nats(Math.log(p[i])) : "∞", nats(part(p[i])), seen[i].toFixed(3), nats(part(seen[i])),
      ]);
      const heads = ["", "p", "−log\u00a0p", "−p\u00a0log\u00a0p", "p̂", "−p̂\u00a0log\u00a0p̂"];
      fill(sums, "", heads, [...rows, ["H", "", "", nats(h), "", nats(all.at(-1))]]);
    }

    function refresh() {
      const p = turned(symbols.map((symbol) => state[symbol]), state.dial), h = entropy(p), k = p.filter((x) => x > 0).length;
      const seen = Array.from({ length: state.sample }, (_, i) => drawn(p, state.size, i + 1));
      const now = { p, h, k, seen: seen.at(-1), all: seen.map(entropy), mean: expected(p, state.size), thumb: (k - 1) / (2 * state.size) };
      sliders.forEach((label) => label.show());
      say(again, state.sample === samples ? `start over (sample 1 of ${samples})` : `draw again (this is sample ${state.sample} of ${samples})`);
      drawBars(now);
      drawCurve(now);
      drawSums(now);
      tell(now);
    }
    return keepUp({ model, el }, state, refresh);
  },
};
