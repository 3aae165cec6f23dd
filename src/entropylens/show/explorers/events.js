// How the events of a training are drawn and told, in all explorers of chapter 8.

const MARKS = [ // as `kinds` in Python
  { many: "spikes", shape: "M-5 4.5H5L0-4.5Z", dash: "6 3", unit: "nats", digits: 2, above: true },
  { many: "jumps", shape: "M-5-4.5H5L0 4.5Z", dash: "1 3", unit: "neurons", digits: 0, above: false },
  { many: "collapses", shape: "M-4-4L4 4M-4 4L4-4", dash: "none", unit: "nats", digits: 2, above: true },
];

/** The mark of an event at x, in the height y, and lines [from, to] below it. */
function markOf(kind, name, x, y, lines) {
  const { shape, dash } = MARKS[kind], fill = dash === "none" ? "none" : "currentColor";
  return make("g", { class: "event", "data-kind": name }, // the theme hides what has a class "collapse"
    ...lines.map(([y1, y2]) => make("line", { x1: x, x2: x, y1, y2, "stroke-dasharray": dash })),
    make("path", { d: shape, transform: `translate(${x} ${y})`, fill, stroke: "currentColor", "stroke-width": fill === "none" ? 2 : 1 }));
}

/** "2 jumps". */
const countedEvents = (n, kind, kinds) => `${n} ${n === 1 ? kinds[kind] : MARKS[kind].many}`;

/** What begins, after a semicolon each: events [kind, onset, height]. */
function beginning(events, kinds) {
  return events.map(([kind, onset, height]) => {
    const { unit, digits } = MARKS[kind], by = height === null ? "" : ` (${signed(height, digits)} ${unit})`;
    return `; a ${kinds[kind]} begins at step ${onset}${by}`;
  }).join("");
}

/** About `many` round numbers between two, in words. */
function ticksBetween(from, to, many) {
  const rough = (to - from) / many, power = 10 ** Math.floor(Math.log10(rough));
  const by = power * [1, 2, 5, 10].find((factor) => factor * power >= rough), digits = Math.max(0, -Math.floor(Math.log10(by) + 1e-9));
  const first = Math.ceil(from / by - 1e-9), found = [];
  for (let i = first; i * by <= to + 1e-9 * by; i++) found.push((i * by).toFixed(digits));
  return found;
}

/** A frame around a panel from `left` to `right`, and its ticks at heights y. */
function framed({ top, bottom }, left, right, y, ticks) {
  return [
    ...ticks.flatMap((tick) => [
      make("line", { x1: left, x2: right, y1: y(tick), y2: y(tick), stroke: "currentColor", opacity: 0.15 }),
      words(left - 5, y(tick), tick, { "text-anchor": "end", "dominant-baseline": "central" }),
    ]),
    make("rect", { fill: "none", stroke: "currentColor", x: left, y: top, width: right - left, height: bottom - top, opacity: 0.5 }),
  ];
}
