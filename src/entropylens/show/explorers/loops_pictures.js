// Chapter 9's pictures: an answer, values over loops, a token's state, and the states of all.

const LOOPED = { left: 46, right: 8, top: 38, bottom: 128, height: 164 };

/** A length to two digits. */
function digits(x) {
  if (x === 0 || x >= 99.5) return x.toFixed(0);
  return x < 1e-4 ? x.toExponential(1) : x.toPrecision(2);
}
const withSign = (x) => (x === 0 ? "0" : `${x < 0 ? "−" : "+"}${digits(Math.abs(x))}`);

/** 1, 2 or 5 times a power of ten, and at least x. */
function rounded(x) {
  const ten = 10 ** Math.floor(Math.log10(x || 1));
  return [1, 2, 5, 10].map((factor) => factor * ten).find((value) => value >= x);
}

/** A share of each letter; the one of `right`, if any, is marked. */
function drawAnswer(panel, { heading, label, letters, shares, right }) {
  chart(panel, { ...LOOPED, heading, label, ticks: SHARES }, (from, to, y) => {
    const step = (to - from) / letters.length, { bottom } = LOOPED;
    const bars = shares.flatMap((p, id) => {
      const x = from + (id + 0.5) * step, is = id === right;
      const bar = { x: x - 0.38 * step, y: y(p), width: 0.76 * step, height: bottom - y(p), class: is ? "bar part-0" : "bar" };
      return [
        make("rect", { ...bar, "data-symbol": letters[id], "data-value": p }),
        words(x, bottom + 16, letters[id], is ? { "font-weight": "bold" } : {}), ...(is ? [words(x, y(p) - 4, "▼")] : []),
      ];
    });
    return [...bars, words((from + to) / 2, bottom + 30, "symbols")];
  });
}

/**
 * Values over `loops`, of which the first is of loop `first`, with a mark at the loop `at`; `level`, if there is one, is dashed, and
 * the loops that the model was made for, `own`, are dotted, if it goes on after them.
 */
function drawOverLoops(panel, { heading, label, ticks, values, first, level, at, own, loops }) {
  chart(panel, { ...LOOPED, heading, label, ticks }, (from, to, y) => {
    const x = (loop) => from + 6 + (loop / loops) * (to - from - 12), { top, bottom } = LOOPED, value = values[at - first];
    const line = (x1, x2, y1, y2, dashes, opacity) => make("line", { x1, x2, y1, y2, stroke: "currentColor", opacity, "stroke-dasharray": dashes });
    const upright = (loop, dashes, opacity) => line(x(loop), x(loop), top, bottom, dashes, opacity);
    const d = values.map((each, i) => `${i ? "L" : "M"}${x(i + first).toFixed(1)} ${y(each).toFixed(1)}`).join("");
    return [
      ...(level === undefined ? [] : [line(from, to, y(level), y(level), "4 4", 0.7)]),
      ...(own < loops ? [upright(own, "1 3", 1)] : []),
      make("path", { class: "line", fill: "none", d }),
      make("g", { class: "cursor" }, upright(at, "none", 0.4),
        ...(value === undefined ? [] : [make("circle", { cx: x(at), cy: y(value), r: 4, "data-value": value })])),
      ...[0, loops].map((loop) => words(x(loop), bottom + 16, loop)), words((from + to) / 2, bottom + 30, "loops"),
    ];
  });
}

/** The numbers of a state, z, filled, and of the one before, hollow, if there is one; `far` is the axis's end. */
function drawState(panel, { heading, label, z, before, far }) {
  const ticks = [-far, 0, far].map((value) => [value, withSign(value)]);
  chart(panel, { ...LOOPED, top: LOOPED.top + 10, heading, label, ticks }, (from, to, y) => {
    const step = (to - from) / z.length, wide = 0.34 * step, { bottom } = LOOPED;
    const kinds = [["bar", z, -wide - 1, "now"], ...(before ? [["hollow", before, 2, "a loop before"]] : [])];
    const left = { "text-anchor": "start", "dominant-baseline": "central" };
    return [
      make("line", { x1: from, x2: to, y1: y(0), y2: y(0), stroke: "currentColor" }),
      ...kinds.flatMap(([kind, values, by, called], k) => [
        make("rect", { x: 70 * k, y: 22, width: 16, height: 11, class: kind }), words(70 * k + 22, 28, called, left),
        ...values.map((value, i) => make("rect", {
          x: from + (i + 0.5) * step + by, y: Math.min(y(0), y(value)), width: wide, height: Math.abs(y(value) - y(0)), class: kind,
          "data-number": i + 1, "data-value": value,
        })),
      ]),
      ...z.map((_, i) => words(from + (i + 0.5) * step, bottom + 16, i + 1)), words((from + to) / 2, bottom + 30, "numbers of its state"),
    ];
  });
}

/** All tokens' states, (n, d): a square for each number, filled above 0 and hollow below; a click on a column is of its token. */
function drawStates(panel, { heading, label, states, symbols, chosen }) {
  const n = states.length, d = states[0].length, far = Math.max(...states.flat().map(Math.abs)), left = 24, top = 22;
  const width = within(panel.clientWidth || 320, 220, 480), side = Math.min(16, (width - left - 2) / n), bottom = top + d * side;
  const x = (at) => left + (at + 0.5) * side, y = (i) => top + (i + 0.5) * side, small = { "font-size": Math.min(12, 0.9 * side) };
  const square = (value, at, i) => {
    const wide = far ? 0.86 * side * Math.sqrt(Math.abs(value) / far) : 0; // areas are in proportion
    return make("rect", { x: x(at) - wide / 2, y: y(i) - wide / 2, width: wide, height: wide, class: value < 0 ? "below" : "above", "data-value": value });
  };
  const column = (_, at) => make("rect", {
    x: x(at) - side / 2, y: top, width: side, height: d * side, class: at === chosen ? "column chosen" : "column", "data-token": at + 1,
  });
  const height = bottom + 32, box = { viewBox: `0 0 ${width} ${height}`, width, height };
  panel.replaceChildren(make("svg", { ...box, class: "chart states", role: "img", "aria-label": label },
    words(0, 12, heading, { "text-anchor": "start", "font-weight": "bold" }),
    ...states.flatMap((z, at) => z.map((value, i) => square(value, at, i))), ...states.map(column),
    ...states[0].map((_, i) => words(left - 12, y(i), i + 1, { ...small, "dominant-baseline": "central" })),
    ...symbols.map((letter, at) => words(x(at), bottom + 13, letter, { ...small, ...(at === chosen ? { "font-weight": "bold" } : {}) })),
    words(left + (n * side) / 2, bottom + 28, "tokens")));
}
