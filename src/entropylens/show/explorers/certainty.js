// One attention row that may be sure of the wrong place: where descent takes its sharpness, with and without the terms.

/** Attention p, and of cross-entropy, L_P and L_S each its value, slope in the sharpness, and weight; as `costs` in Python. */
function costs({ wrong, right, guess, symbols, order: q, coefficients }, { lead, sharpness, strength, target }) {
  const scores = [...wrong.slice(0, right), lead, ...wrong.slice(right)], best = Math.max(...scores);
  const sum = (values) => values.reduce((a, b) => a + b);
  const raised = scores.map((score) => Math.exp(sharpness * (score - best))), whole = sum(raised), p = raised.map((x) => x / whole);
  const mean = sum(p.map((share, j) => share * scores[j])), moves = p.map((share, j) => share * (scores[j] - mean)); // dp/dβ
  const answer = (1 - guess) * p[right] + guess / symbols;
  const gap = (1 - sum(p.map((share) => share ** q))) / (q - 1) - target;
  const fall = (q / (1 - q)) * sum(p.map((share, j) => share ** (q - 1) * moves[j])); // of the entropy
  const terms = [
    { value: -Math.log(answer), slope: (-(1 - guess) * moves[right]) / answer, weight: 1 },
    { value: Math.log(whole), slope: mean - best, weight: strength * coefficients[0] }, // −log max p, as the best is raised to 1
    { value: Math.abs(gap), slope: Math.sign(gap) * fall, weight: strength * coefficients[1] },
  ];
  const total = (key) => sum(terms.map((term) => term.weight * term[key]));
  const push = coefficients[0] * terms[1].slope + coefficients[1] * terms[2].slope; // of the terms, at the paper's strength
  return { p, terms, loss: total("value"), slope: total("slope"), push };
}

const FLAT = 0.0005; // a slope that is told as zero

export default {
  render({ model, el, page }) {
    const keys = ["wrong", "right", "guess", "symbols", "order", "coefficients"];
    const toy = Object.fromEntries(keys.map((key) => [key, model.get(key)])), { right, symbols } = toy, places = toy.wrong.length + 1;
    const ends = Object.fromEntries(model.get("ends").map(([name, ...end]) => [name, end])), state = { ...model.get("selected") };
    if (page) {
      const found = fromAddress(model.get("name"));
      for (const [key, [low, high]] of Object.entries(ends))
        if (/^-?\d{1,2}(\.\d{1,6})?$/.test(found[key]) && found[key] >= low && found[key] <= high) state[key] = Number(found[key]);
    }
    const select = selector({ model, page }, state, refresh);

    // ---- words ------------------------------------------------------------------------------------------------------
    const NAMES = { lead: "lead", sharpness: "sharpness β", strength: "strength", target: "target η" };
    const VALUES = {
      lead: () => signed(state.lead, 1), sharpness: () => state.sharpness.toFixed(1),
      strength: () => `×\u00a0${state.strength.toFixed(1)}`, target: () => state.target.toFixed(2),
    };
    /** −1, 1 or 0: whether descent makes the head less sharp, sharper, or neither. */
    const way = (slope) => (Math.abs(slope) < FLAT || (slope > 0 && state.sharpness === 0) ? 0 : -Math.sign(slope));
    const WAYS = { [-1]: "less sharp", 0: "no change", 1: "sharper" }, ARROWS = { [-1]: "←", 0: "•", 1: "→" };
    function whereItLooks(p) {
      const share = percent(p[right]), most = p.indexOf(Math.max(...p));
      if (state.sharpness === 0) return `The head looks at all places alike (${share} each).`;
      const tied = p.lastIndexOf(p[most]); // of a lead of 0
      if (tied !== most) return `The head looks most at places ${most + 1} and ${tied + 1}, one of them right (${share} each).`;
      if (most === right) return `The head looks most at the right place, ${right + 1} (${share}).`;
      return `The head looks most at place ${most + 1}, a wrong one (${percent(p[most])}); the right one, ${right + 1}, gets ${share}.`;
    }
    function whoDecides({ terms: [{ slope }], slope: all, push }) {
      const turns = -slope / push, to = WAYS[-Math.sign(push)];
      if (Math.abs(push) < FLAT) return "The terms hardly push here.";
      if (Math.abs(slope) < FLAT) return "Cross-entropy is flat here: the terms decide, however weak.";
      if (turns < 0) return "Both push the same way.";
      if (turns > ends.strength[1]) return "No strength on this slider turns that.";
      const from = `from strength ×\u00a0${turns.toPrecision(2)} on`;
      return way(all) === -Math.sign(push) ? `The terms turn it ${from}.` : `The terms would make it ${to} ${from}.`;
    }
    function tell(now) {
      const [alone, both] = [now.terms[0].slope, now.slope].map((slope) => WAYS[way(slope)]);
      say(told, `${whereItLooks(now.p)} Gradient descent on its sharpness, by cross-entropy alone: ${alone}; with the terms: ${both}. ${whoDecides(now)}`);
    }

    // ---- what is on the page ----------------------------------------------------------------------------------------
    const sliders = Object.entries(NAMES).map(([key, name]) => slider(ends[key], {
      name, value: () => state[key], shown: VALUES[key], changed: (value) => select({ [key]: value }),
    }));
    const bars = make("div", {}), lines = make("div", {}), sums = make("table", { class: "sums" });
    const told = make("p", { class: "told", "aria-live": "polite" });
    el.classList.add("explorer");
    el.append(
      make("div", { role: "group", "aria-label": "Choose where the head looks, and the terms" }, ...sliders),
      make("div", { class: "panels" }, bars, lines),
      told, sums,
      make("p", { class: "legend", text:
        `A toy: attention is softmax(β\u00a0·\u00a0scores) over ${places} places. Lead: the right place's score less the best wrong one's; ` +
        `the wrong places keep theirs. Each place holds another of ${symbols} symbols; the answer is their mixture, and ` +
        `${percent(toy.guess)} of it a guess: cross-entropy = −log(${1 - toy.guess}\u00a0p_right + ${toy.guess}/${symbols}), in nats. ` +
        `L_P\u00a0=\u00a0−log\u00a0max\u00a0p, L_S\u00a0=\u00a0|S_q(p)\u00a0−\u00a0η| with Tsallis' entropy at q\u00a0=\u00a0${toy.order}. Strength ×\u00a01 is the ` +
        "paper's. The toy has no states that could move, so there is no kinetic term." }),
    );

    // ---- pictures ---------------------------------------------------------------------------------------------------
    const BOTTOM = 196, FRAME = { left: 42, right: 22, bottom: BOTTOM, height: 230 }; // right: room for an arrow
    function drawBars({ p }) {
      const label = `Attention to each place: ${p.map((share, j) => `${j + 1}${j === right ? " (right)" : ""} ${percent(share)}`).join(", ")}.`;
      chart(bars, { ...FRAME, heading: "where the head looks", label, ticks: SHARES, top: 50 }, (from, to, y) =>
        [words((from + to) / 2, BOTTOM + 30, "places"), ...p.flatMap((share, j) => {
          const step = (to - from) / places, x = from + (j + 0.5) * step, is = j === right;
          const bar = { x: x - 0.38 * step, y: y(share), width: 0.76 * step, height: BOTTOM - y(share), class: is ? "bar part-0" : "bar", "data-place": j + 1 };
          const mark = [words(x, y(share) - 4, "▼"), words(x, y(share) - 16, "right", { "font-weight": "bold" })];
          return [make("rect", bar), words(x, BOTTOM + 16, j + 1, is ? { "font-weight": "bold" } : {}), ...(is ? mark : [])];
        })]);
    }
    function drawLines(now) {
      const [low, high, steps] = ends.sharpness;
      const along = Array.from({ length: steps + 1 }, (_, i) => low + ((high - low) * i) / steps);
      const all = along.map((sharpness) => [sharpness, costs(toy, { ...state, sharpness })]);
      const kinds = [ // the loss with the terms is never the lower one: its arrow goes above, the other below
        { kind: "alone", of: (c) => c.terms[0].value, told: "cross-entropy", slope: now.terms[0].slope, side: 11 },
        { kind: "line", of: (c) => c.loss, told: "with the terms", slope: now.slope, side: -11 },
      ];
      const most = Math.max(...all.map(([, c]) => c.loss)), top = Math.max(4, 2 * Math.ceil(most / 2));
      const ticks = Array.from({ length: top / 2 + 1 }, (_, i) => [2 * i, 2 * i]);
      const label = `Loss over sharpness from ${low} to ${high}. At ${state.sharpness.toFixed(1)}: ` +
        `${kinds.map(({ of, told: who, slope }) => `${who} ${of(now).toFixed(2)} nats, descent: ${WAYS[way(slope)]}`).join("; ")}.`;
      chart(lines, { ...FRAME, heading: "loss over sharpness, nats", label, ticks, top: 70 }, (from, to, y) => {
        const x = (sharpness) => from + ((sharpness - low) / (high - low)) * (to - from), at = x(state.sharpness);
        const curve = ({ kind, of }) => make("path", { class: kind, fill: "none",
          d: all.map(([b, c], j) => `${j ? "L" : "M"}${x(b).toFixed(1)} ${y(of(c)).toFixed(1)}`).join("") });
        const key = ({ kind, told: who, slope }, i) => [
          make("path", { class: kind, fill: "none", d: `M0 ${28 + 16 * i}h24` }),
          words(30, 28 + 16 * i, `${who}: ${ARROWS[way(slope)]} ${WAYS[way(slope)]}`, { "text-anchor": "start", "dominant-baseline": "central" }),
        ];
        const mark = ({ of, slope, side }) => {
          const by = way(slope), long = by < 0 ? Math.min(18, Math.max(7, at - from)) : 18; // not across the axis
          const d = `M${at} ${y(of(now)) + side}h${long * by}m${-5 * by}-4l${5 * by} 4l${-5 * by} 4`;
          const arrow = { d, "data-way": by, fill: "none", stroke: "currentColor", "stroke-width": 2 };
          return [make("circle", { cx: at, cy: y(of(now)), r: 4 }), ...(by ? [make("path", arrow)] : [])];
        };
        return [
          ...kinds.map(curve), ...kinds.flatMap(key),
          make("g", { class: "cursor" }, make("line", { x1: at, x2: at, y1: 66, y2: BOTTOM, stroke: "currentColor", opacity: 0.4 }), ...kinds.flatMap(mark)),
          words(x(low), BOTTOM + 16, low), words(x(high), BOTTOM + 16, high), words((from + to) / 2, BOTTOM + 30, "sharpness β"),
        ];
      });
    }
    function drawSums({ terms, loss, slope }) {
      const sloped = (own) => signed(Math.abs(own) < FLAT ? 0 : own); // no −0.000
      const heads = ["", "value", "×\u00a0λ", "adds", "slope in β"].map((text) => make("th", { scope: "col", text }));
      const names = [["cross-entropy"], ["potential L", make("sub", { text: "P" })], ["entropy L", make("sub", { text: "S" })]];
      const rows = terms.map(({ value, slope: own, weight }, i) => [
        names[i], [value.toFixed(3)], [`${Number(weight.toFixed(4))}`], [(weight * value).toFixed(3)], [sloped(weight * own)],
      ]);
      const cells = (row) => row.map((inside, i) => make(i ? "td" : "th", i ? {} : { scope: "row" }, ...inside));
      sums.replaceChildren(make("thead", {}, make("tr", {}, ...heads)),
        make("tbody", {}, ...[...rows, [["loss"], [], [], [loss.toFixed(3)], [sloped(slope)]]].map((row) => make("tr", {}, ...cells(row)))));
    }

    function refresh() {
      const now = costs(toy, state);
      sliders.forEach((label) => label.show());
      drawBars(now);
      drawLines(now);
      drawSums(now);
      tell(now);
    }
    return keepUp({ model, el }, state, refresh);
  },
};
