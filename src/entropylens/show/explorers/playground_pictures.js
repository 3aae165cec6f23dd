// Curves of a training that goes on: rows {step, entropy, kl, loss, least, most, dead} against the step.

const FRAME = { left: 44, right: 10, top: 30, bottom: 150, height: 184 };
const MANY = 6000; // rows that are kept at most

/** Halve what is kept, but for the first steps, which are the whole of a logarithmic axis' left half. */
function thinned(rows) {
  const start = rows.findIndex((row) => row.step > 100), kept = rows.slice(0, start);
  for (let i = start; i < rows.length; i += 2) {
    const [one, two = one] = [rows[i], rows[i + 1]];
    kept.push({ ...two, least: Math.min(one.least, two.least), most: Math.max(one.most, two.most) });
  }
  return kept;
}

/** Ends of an axis and round ticks [value, words] in between, for values from `low` to `high`. */
function roundTicks(low, high, many = 4) {
  const rough = Math.max(high - low, 1e-6) / many, power = 10 ** Math.floor(Math.log10(rough));
  const by = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.999), digits = Math.max(0, -Math.floor(Math.log10(by) + 1e-9));
  const ticks = [];
  for (let i = Math.floor(low / by + 1e-9); i <= Math.ceil(high / by - 1e-9); i++) ticks.push([i * by, (i * by).toFixed(digits)]);
  return ticks.length > 1 ? ticks : [...ticks, [ticks[0][0] + by, (ticks[0][0] + by).toFixed(digits)]];
}

/** Powers of ten around values, of which the axis shows the logarithm. */
function powerTicks(low, high) {
  const from = Math.floor(Math.log10(Math.max(low, 1e-6))), to = Math.max(from + 1, Math.ceil(Math.log10(Math.min(Math.max(high, 1e-6), 1e6))));
  const by = Math.ceil((to - from) / 4), ticks = [];
  for (let e = from; e < to + by; e += by) ticks.push([e, e < -3 || e > 3 ? `1e${e}` : `${10 ** e}`]);
  return ticks;
}

const thousands = (n) => n.toLocaleString("en").replaceAll(",", "\u202f");

/** Where steps from 0 to `last` lie, and ticks: evenly, or by log(1 + step). */
function stepAxis(last, kind, from, to) {
  const scale = kind === "log" ? (step) => Math.log1p(step) : (step) => step, x = (step) => from + ((to - from) * scale(Math.min(step, last))) / scale(last);
  const found = kind === "log" ? [0, 1, 10, 100, 1e3, 1e4, 1e5] : roundTicks(0, last, 3).map(([step]) => step);
  const ticks = found.filter((step) => step <= last && (step === 0 || x(step) - x(0) > 14) && x(step) < to - 4);
  return { x, ticks: ticks.map((step) => [x(step), step < 1e4 ? thousands(step) : `${step / 1000}k`]) };
}

/** A path through values, one point a pixel at most. */
function pathOf(rows, x, value) {
  let d = "", last = -Infinity;
  rows.forEach((row, i) => {
    const at = x(row.step), y = value(row);
    if (!Number.isFinite(y) || (at - last < 0.8 && i < rows.length - 1)) return;
    d += `${d ? "L" : "M"}${at.toFixed(1)} ${y.toFixed(1)}`;
    last = at;
  });
  return d;
}

/** The area between the least and the most of each pixel. */
function bandOf(rows, x, low, high) {
  const pixels = new Map();
  for (const row of rows) {
    const at = Math.round(x(row.step)), [a, b] = pixels.get(at) ?? [Infinity, -Infinity];
    pixels.set(at, [Math.min(a, low(row)), Math.max(b, high(row))]);
  }
  const points = [...pixels].filter(([, [a, b]]) => Number.isFinite(a + b));
  const there = points.map(([at, [a]]) => `${at} ${a}`), back = points.reverse().map(([at, [, b]]) => `${at} ${b}`);
  return { there, back };
}

/**
 * Draw one quantity into a panel.
 *
 * `of` gives a row's value; `ticks` are of the axis on which `scale` (of a value; the value itself, or its logarithm) lies. `lines`
 * are [value, words, class, whether the words are below]; `before` are the rows of another run, or null; `marks` steps.
 */
function drawCurve(panel, { name, heading, label, rows, before, marks, of, scale = (v) => v, ticks, lines = [], band = false, axis }) {
  const last = Math.max(20, rows.at(-1).step, before ? before.at(-1).step : 0), { bottom, top } = FRAME;
  chart(panel, { ...FRAME, heading, label, ticks }, (from, to, y) => {
    const { x, ticks: steps } = stepAxis(last, axis, from, to), at = (row) => y(scale(of(row)));
    const still = lines.flatMap(([value, text, kind, below]) => [
      make("line", { x1: from, x2: to, y1: y(scale(value)), y2: y(scale(value)), class: kind }),
      words(to, y(scale(value)) + (below ? 12 : -4), text, { "text-anchor": "end", "font-size": 11, class: "halo thin" }),
    ]);
    const areas = [];
    if (band) {
      const { there, back } = bandOf(rows, x, (row) => y(scale(row.most)), (row) => y(scale(row.least)));
      if (there.length > 1) areas.push(make("path", { class: "band", d: `M${there.join("L")}L${back.join("L")}Z` }));
    }
    const past = before ? [make("path", { class: "before", fill: "none", d: pathOf(before, x, at) })] : [];
    const beyond = rows.some((row) => scale(band ? row.most : of(row)) > ticks.at(-1)[0] * 1.0001) ? [words(to, top + 8, "↑", { "text-anchor": "end" })] : [];
    return [
      ...marks.map((step) => make("line", { x1: x(step), x2: x(step), y1: top, y2: bottom, class: "turned" })),
      ...areas, ...past, make("path", { class: "line", fill: "none", d: pathOf(rows, x, at), "data-curve": name }),
      make("circle", { cx: x(rows.at(-1).step), cy: at(rows.at(-1)) || bottom, r: 2.5, fill: "currentColor" }),
      ...still, ...beyond,
      ...steps.map(([place, text]) => words(place, bottom + 15, text, { "font-size": 11 })), words((from + to) / 2, bottom + 30, axis === "log" ? "steps (logarithmic)" : "steps", { "font-size": 11 }),
    ];
  });
}

/** The four curves: what is shown of a run, for `drawCurve`. `run` has rows, neurons, targetEntropy and seenEntropy (null: no sample). */
function curvesOf({ rows, before, targetEntropy, seenEntropy, neurons, near }) {
  const now = rows.at(-1), all = [...rows, ...(before ?? [])], finite = (name) => all.map((row) => row[name]).filter(Number.isFinite);
  const span = (values, ...others) => [Math.min(...others, ...values), Math.max(...others, ...values)];
  const known = seenEntropy === null ? [targetEntropy] : [targetEntropy, seenEntropy];
  const goals = [[targetEntropy, `target ${targetEntropy.toFixed(2)}`, "goal", false]];
  if (seenEntropy !== null) goals.push([seenEntropy, `sample ${seenEntropy.toFixed(2)}`, "sampled", seenEntropy <= targetEntropy]);
  const roomy = ([low, high]) => [low - 0.12 * (high - low), high]; // for words below the lowest line
  const floor = seenEntropy ?? targetEntropy, entropies = near ? [Math.min(...known) - 0.5, targetEntropy + 0.5] : roomy(span(finite("entropy"), ...known));
  const losses = near ? [floor - 0.2, floor + 0.8] : roomy(span(finite("loss").map((x) => Math.min(x, floor + 8)), floor));
  const top = [0.1, 0.2, 0.5, 1].find((end) => Math.max(0, ...finite("share")) <= end);
  const value = (x, digits) => (Number.isFinite(x) && Math.abs(x) < 1e4 ? x.toFixed(digits) : "beyond all bounds");
  return {
    entropy: {
      heading: `entropy H(pθ): ${value(now.entropy, 3)} nats`, of: (row) => row.entropy, ticks: roundTicks(...entropies), lines: goals,
    },
    kl: {
      heading: `KL(p_tgt‖pθ): ${value(now.kl, 3)} nats`, of: (row) => row.kl, scale: (v) => Math.log10(Math.max(v, 1e-9)),
      ticks: powerTicks(...span(finite("kl"))),
    },
    loss: {
      heading: `loss: ${value(now.loss, 3)} nats`, of: (row) => row.loss, ticks: roundTicks(...losses), band: true,
      lines: [[floor, `least possible ${floor.toFixed(2)}`, seenEntropy === null ? "goal" : "sampled", true]],
    },
    dead: {
      heading: neurons ? `dead neurons: ${now.dead} of ${neurons} (${now.dead ? percent(now.share) : "0\u00a0%"})` : "no FFN, so no neurons to die",
      of: (row) => row.share, ticks: [0, top / 2, top].map((share) => [share, `${100 * share}\u00a0%`]),
    },
  };
}
