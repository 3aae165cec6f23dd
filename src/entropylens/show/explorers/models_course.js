// The entropy of a model over its training, between what it was taught and what its sample says.

/** The numbers of one model after its snapshots: [H(pθ), KL(p_tgt‖pθ), KL(p̂‖pθ)], K each, and what they say at place `now`. */
function snapshot({ target_entropy, sample_bias }, [entropies, divergences, excesses], now) {
  const entropy = entropies[now], bias = entropy - target_entropy;
  return {
    entropy, entropies, kl: divergences[now], loss: target_entropy + sample_bias + excesses[now],
    bias, sample_bias, model_bias: bias - sample_bias,
    reach: Math.max(Math.abs(sample_bias), ...[...entropies].flatMap((h) => [h - target_entropy, h - target_entropy - sample_bias].map(Math.abs))),
  };
}

const COURSE = { left: 36, right: 60, top: 26, bottom: 150, height: 184 };

/** Draw H(pθ) over training steps; returns which snapshot lies nearest to a place in the picture, a share of its width. */
function drawCourse(panel, steps, { entropies, target_entropy, sample_bias, seen }, now) {
  const taught = [["H(p_tgt)", target_entropy, "6 4"], ...(seen ? [["H(p̂)", target_entropy + sample_bias, "2 3"]] : [])];
  const { ticks } = scaleOf([...entropies, ...taught.map(([, h]) => h)]), last = steps.at(-1), nats = (h) => h.toFixed(3);
  const label = `Entropy of the model over training steps, logarithmic, in nats: ${nats(entropies[0])} untrained, ${nats(entropies[now])} after ` +
    `${steps[now]} steps, ${nats(entropies.at(-1))} at the end; ${taught.map(([name, h]) => `${name} ${nats(h)}`).join(", ")}.`;
  const share = (step) => Math.log1p(step) / Math.log1p(last);
  let places = [], width = 1;
  chart(panel, { ...COURSE, heading: "H(pθ) over training, nats", label, ticks }, (from, to, y) => {
    const x = (step) => from + 6 + share(step) * (to - from - 12), at = x(steps[now]);
    places = steps.map(x);
    width = to + COURSE.right;
    const apart = y(target_entropy + sample_bias) - y(target_entropy), push = seen ? Math.max(0, (13 - apart) / 2) : 0; // of names
    return [
      ...taught.flatMap(([name, h, dash], i) => [
        make("line", { x1: from, x2: to, y1: y(h), y2: y(h), stroke: "currentColor", "stroke-dasharray": dash, "data-nats": h }),
        words(to + 5, y(h) + (i ? push : -push), name, { "text-anchor": "start", "dominant-baseline": "central" }),
      ]),
      make("path", { class: "line", fill: "none", d: [...entropies].map((h, i) => `${i ? "L" : "M"}${places[i].toFixed(1)} ${y(h).toFixed(2)}`).join("") }),
      make("g", { class: "cursor" },
        make("line", { x1: at, x2: at, y1: COURSE.top - 4, y2: COURSE.bottom, stroke: "currentColor", opacity: 0.4 }),
        make("circle", { cx: at, cy: y(entropies[now]), r: 4, "data-nats": entropies[now] })),
      ...[0, 1, 10, 100, 1000].filter((step) => step <= last).map((step) => words(x(step), COURSE.bottom + 16, step)),
      words((from + to) / 2, COURSE.bottom + 31, "training steps, log scale"),
    ];
  });
  const far = (place, at) => Math.abs(place - at * width);
  return (at) => places.reduce((best, place, i) => (far(place, at) < far(places[best], at) ? i : best), 0);
}
