// Published trainings, two losses at a time: their seeds, their means, and what differs between them.

const NOTHING = 2 ** 16 - 1; // the code of what was not kept

/** What a code stands for; as `Scale.encode` in Python. */
function decode(code, [low, high, log]) {
  const share = code / (NOTHING - 1);
  if (code === NOTHING) return NaN;
  return log ? low * (high / low) ** share : low + (high - low) * share;
}

/** How many values are finite, their mean, and the ends of its 95 % interval by Student's `quantiles` of 2, 3, … values. */
function summary(values, quantiles) {
  const x = values.filter(Number.isFinite), n = x.length, sum = (all) => all.reduce((a, b) => a + b, 0), mean = sum(x) / n;
  const half = quantiles[n - 2] * Math.sqrt(sum(x.map((each) => (each - mean) ** 2)) / (n - 1) / n);
  return { values, n, mean, low: mean - half, high: mean + half };
}

/** Two arms by their seeds and values: each by itself, and the difference of the seeds that both have. */
function compare(own, beside, quantiles) {
  const other = new Map(beside.seeds.map((seed, i) => [seed, beside.values[i]]));
  const gaps = own.seeds.map((seed, i) => own.values[i] - other.get(seed));
  return { own: summary(own.values, quantiles), beside: summary(beside.values, quantiles), gap: summary(gaps, quantiles) };
}

export default {
  render({ model, el, page }) {
    const [setups, measures] = ["setups", "measures"].map((name) => new Map(model.get(name).map(([key, ...rest]) => [key, rest])));
    const [arms, lengths, points, quantiles, symbols, trained, usual] = ["arms", "lengths", "points",
      "quantiles", "symbols", "trained", "usual"].map((name) => model.get(name));
    const [ends, levels, courses] = ["ends", "levels", "courses"].map((name) => new Uint16Array(bytesOf(model, name)));
    const kinds = [...measures.keys()], SHARE = [0, 1, false], state = { ...model.get("selected") };

    // ---- what is chosen ---------------------------------------------------------------------------------------------
    const offered = () => arms.filter(({ setup }) => setup === state.setup).map(({ loss }) => loss);
    /** Take over what there is; a set-up may lack a loss that was chosen in another. */
    function choose(change) {
      if (setups.has(change.setup)) state.setup = change.setup;
      const there = offered();
      for (const key of ["loss", "beside"]) state[key] = [change[key], state[key], usual[key]].find((loss) => there.includes(loss));
      if (kinds.includes(change.measure)) state.measure = change.measure;
      if (lengths.includes(change.length)) state.length = change.length;
      if (change.point >= 1 && change.point <= points) state.point = change.point;
    }
    if (page) {
      const found = fromAddress(model.get("name")), whole = (text) => (/^\d{1,4}$/.test(text) ? Number(text) : NaN);
      choose({ ...found, point: whole(found.point), length: whole(found.length) });
    }
    const keep = selector({ model, page }, state, refresh), select = (change) => (choose(change), keep({}));
    let now = null; // what is drawn
    /** The chosen arms, whether a course of both was kept, and ways to compare them in training and at a length. */
    function chosen() {
      const [own, beside] = [state.loss, state.beside].map((loss) => arms.find((arm) => arm.setup === state.setup && arm.loss === loss));
      const recorded = own.course !== null && beside.course !== null, kind = kinds.indexOf(state.measure), [, ...scale] = measures.get(state.measure);
      const width = own.steps / points, each = (of) => ({ seeds, ...arm }) => ({ seeds, values: seeds.map((_, i) => of(arm, i)) });
      const both = (of) => compare(each(of)(own), each(of)(beside), quantiles);
      function inTraining(point) {
        return both(({ model: first, course }, i) => {
          if (recorded) return decode(courses[((course + i) * kinds.length + kind) * points + point - 1], scale);
          const at = ((first + i) * kinds.length + kind) * 3, later = point * width > levels[at + 2];
          return decode(levels[at + later], scale);
        });
      }
      const atLength = (place) => both(({ model: first }, i) => decode(ends[(first + i) * lengths.length + place], SHARE));
      const atEnd = !recorded && state.measure === "loss"; // no more was kept
      return { own, beside, recorded, atEnd, width, point: atEnd ? points : state.point, place: lengths.indexOf(state.length), inTraining, atLength };
    }

    // ---- words ------------------------------------------------------------------------------------------------------
    const digits = (x) => (Math.abs(x) < 10 ? 3 : Math.abs(x) < 100 ? 1 : 0);
    const plain = (x) => (x < 0 ? signed(x, digits(x)) : x.toFixed(digits(x))), plus = (x) => signed(x, digits(x));
    const within95 = ({ n, mean, low, high }, write) => (n > 1 ? `${write(mean)} [${write(low)}, ${write(high)}]` : n ? write(mean) : "unknown");
    const steps = (point) => point * now.width, measured = () => measures.get(state.measure)[0];
    function apart({ own, beside, gap }) {
      if (state.loss === state.beside) return `${within95(own, plain)} (the same loss twice)`;
      const sides = `${within95(own, plain)} with ${state.loss}, ${within95(beside, plain)} with ${state.beside}`;
      if (gap.n < 2) return sides;
      const fate = gap.low > 0 ? "higher" : gap.high < 0 ? "lower" : "the interval holds zero";
      return `${sides}; difference, by the ${gap.n} seeds of both, ${within95(gap, plus)}: ${fate}`;
    }
    function tell() {
      const { own, beside, recorded, atEnd, point } = now, [called, title] = setups.get(state.setup);
      const rates = own.rate === beside.rate ? `Both have a learning rate of ${own.rate}` : `Learning rates are ${own.rate} and ${beside.rate}`;
      const how = recorded ? "" : atEnd ? " (only the end was kept)" : " (as two levels)";
      told.tell(`In the set-up “${called}” (${title}), after ${steps(point)} steps, ${measured()}${how} is ${apart(now.inTraining(point))}. ` +
        `After training, at ${state.length} tokens, accuracy is ${apart(now.atLength(now.place))}. ${rates}.`);
    }

    // ---- what is on the page ----------------------------------------------------------------------------------------
    const called = (all) => Object.fromEntries([...all].map(([key, [name]]) => [key, name]));
    const group = choice("set-up", [...setups.keys()], state.setup, (setup) => select({ setup }), called(setups));
    const picks = Object.entries({ loss: "loss", beside: "beside" }).map(([key, name]) => [key, pick(name, (loss) => select({ [key]: loss }))]);
    const measure = choice("in training", kinds, state.measure, (kind) => select({ measure: kind }), called(measures));
    const point = slider([1, points, points - 1], { name: "training steps", value: () => state.point, hidden: () => now.atEnd,
      shown: () => `${steps(state.point)} of ${steps(points)}`, changed: (to) => select({ point: to }) });
    const length = slider([0, lengths.length - 1, lengths.length - 1], { name: "after training, at", value: () => now.place,
      shown: () => `${state.length} tokens`, changed: (place) => select({ length: lengths[place] }) });
    const [course, seeds, byLength, seedsThere] = Array.from({ length: 4 }, () => make("div", {}));
    const [told, heard] = announced();
    el.classList.add("explorer", "regularisation");
    el.append(
      make("div", { role: "group", "aria-label": "Choose a set-up and two losses" }, group, make("div", { class: "controls" }, ...picks.map(([, list]) => list))),
      make("div", { role: "group", "aria-label": "Choose what is looked at, and when" }, measure, point, length),
      told, heard,
      make("div", { class: "panels" }, course, seeds, byLength, seedsThere),
      make("p", { class: "legend", text:
        `Thin lines and dots: models; thick lines and large marks: their means, with 95 % intervals (Student's t). Dots of one seed are joined: it has ` +
        "the same initial parameters and sequences with both losses. Differences are of these pairs, and exploratory: who looks at twenty of them " +
        "should expect one interval without zero by chance. Each loss has the learning rate that its own trials chose, or, in the longest training, the paper's. In training: means over " +
        `${points} stretches, over all scored symbols; chance is 1/${symbols}, or log ${symbols} nats. Two levels, where no course was kept: a model's means before and after the one ` +
        "step that splits its curve best, on the shortest sequences alone. Kinetic energies have a logarithmic axis. Grey: the lengths of training." }),
    );

    // ---- pictures ---------------------------------------------------------------------------------------------------
    const TOP = 82, BOTTOM = 212, FRAME = { left: 44, right: 50, top: TOP, bottom: BOTTOM, height: 248 };
    const ARMS = [["own", "line"], ["beside", "alone"]], left = { "text-anchor": "start", "dominant-baseline": "central" };
    const names = () => ({ own: state.loss, beside: state.beside });
    /** An axis of logarithms, over the decades that hold values. */
    const decades = (values) => {
      const low = Math.floor(Math.min(...values)), high = Math.max(low + 1, Math.ceil(Math.max(...values)));
      return Array.from({ length: high - low + 1 }, (_, i) => [low + i, low + i < 0 ? `${10 ** (low + i)}` : (10 ** (low + i)).toLocaleString("en")]);
    };
    const log = (x) => Math.log10(Math.max(x, 1e-12)), same = (x) => x, isLog = () => measures.get(state.measure)[3];
    const key = (text, mark, i) => [mark(28 + 16 * i), words(30, 28 + 16 * i, text, left)];
    const stroke = (kind) => (y) => make("path", { class: kind, fill: "none", d: `M0 ${y}h24` });
    const dot = (kind, cx, cy, r, more = {}) => make("circle", { class: kind, cx, cy, r, ...more });
    /** A path through the points that there are. */
    function through(xs, ys, attributes) {
      const d = xs.map((x, i) => (Number.isFinite(ys[i]) ? `${Number.isFinite(ys[i - 1]) ? "L" : "M"}${x.toFixed(1)} ${ys[i].toFixed(1)}` : "")).join("");
      return make("path", { fill: "none", ...attributes, d });
    }
    const dotted = (from, to, y) => [words(to + 6, y, "chance", left),
      make("path", { d: `M${from} ${y}H${to}`, stroke: "currentColor", "stroke-dasharray": "1 3", class: "chance" })];
    function band(xs, all, y, of) {
      const there = all.map((one, i) => [xs[i], one[of]]).filter(([, { low }]) => Number.isFinite(low));
      const [over, under] = ["high", "low"].map((end) => there.map(([x, one]) => `${x.toFixed(1)} ${y(one[end]).toFixed(1)}`));
      return make("path", { class: `band ${of}`, d: there.length ? `M${[...over, ...under.reverse()].join("L")}Z` : "" });
    }
    /** Both arms along an axis, compared at each of its places, the chosen one marked. */
    function drawLines(panel, { heading, label, ticks, along, all, at, scale, chance, marks, axis, shade }) {
      chart(panel, { ...FRAME, heading, label, ticks }, (from, to, height) => {
        const x = (value) => from + 6 + along(value) * (to - from - 12), y = (value) => height(scale(value)), xs = marks.map(x), cursor = xs[at];
        const curves = ARMS.flatMap(([of, kind]) => [
          band(xs, all, y, of),
          ...all[0][of].values.map((_, i) => through(xs, all.map((one) => y(one[of].values[i])), { class: `${kind} faint` })),
        ]);
        return [
          ...(shade ? [make("rect", { class: "over", x: x(shade[0]), width: x(shade[1]) - x(shade[0]), y: TOP, height: BOTTOM - TOP })] : []),
          ...(chance ? dotted(from, to, y(chance)) : []),
          ...curves, ...ARMS.map(([of, kind]) => through(xs, all.map((one) => y(one[of].mean)), { class: kind, "data-arm": of })),
          ...ARMS.flatMap(([of, kind], i) => key(names()[of], stroke(kind), i)),
          make("g", { class: "cursor" }, make("path", { d: `M${cursor} ${TOP}V${BOTTOM}`, stroke: "currentColor", opacity: 0.4 }),
            ...ARMS.filter(([of]) => all[at][of].n).map(([of]) => dot("", cursor, y(all[at][of].mean), 4))),
          ...axis.map((value) => words(x(value), BOTTOM + 16, value)),
        ];
      });
    }
    /** The models of both arms at the chosen place, joined where they have the same seed. */
    function drawSeeds(panel, { heading, one, scale, chance, what }) {
      const shown = ARMS.flatMap(([of]) => [...one[of].values, one[of].low, one[of].high].filter(Number.isFinite).map(scale));
      const numbers = Object.fromEntries(ARMS.map(([of]) => [of, `${names()[of]} ${within95(one[of], plain)}`]));
      const difference = `difference ${within95(one.gap, plus)}`, rows = [numbers.own, numbers.beside, difference];
      const most = what === measures.get("loss")[0] ? Infinity : 1, possible = ([value]) => value > -1e-9 && value < most + 1e-9;
      const ticks = !shown.length ? SHARES : scale === log ? decades(shown) : scaleOf(shown).ticks.filter(possible);
      chart(panel, { ...FRAME, heading, ticks, label: `${heading}, ${what}: ${rows.join("; ")}, n = ${one.gap.n}.` }, (from, to, height) => {
        const y = (value) => height(scale(value)), at = { own: from + 0.32 * (to - from), beside: from + 0.68 * (to - from) }, far = 0.14 * (to - from);
        const mark = { own: (cx, cy, r, more) => dot("dot", cx, cy, r, more), beside: (cx, cy, r, more) => dot("dot open", cx, cy, r, more) };
        const joined = now.own.seeds.map((seed, i) => [one.own.values[i], one.beside.values[now.beside.seeds.indexOf(seed)]])
          .filter((pair) => pair.every(Number.isFinite)).map(([a, b]) => make("path", { class: "join", d: `M${at.own} ${y(a)}L${at.beside} ${y(b)}` }));
        const means = ARMS.filter(([of]) => one[of].n).flatMap(([of]) => {
          const { mean, low, high } = one[of], x = at[of] + (of === "own" ? -far : far);
          return [...(Number.isFinite(low) ? [make("path", { class: "whisker", d: `M${x} ${y(low)}V${y(high)}m-4 0h8M${x - 4} ${y(low)}h8` })] : []),
            mark[of](x, y(mean), 5.5, { "data-mean": mean, "data-low": low, "data-high": high })];
        });
        const guess = chance > ticks[0][0] && chance < ticks.at(-1)[0];
        return [
          ...(guess ? dotted(from, to, y(chance)) : []), ...joined, ...ARMS.flatMap(([of]) => one[of].values.map((value, i) => [value, now[of].seeds[i], of])).filter(([value]) => Number.isFinite(value))
            .map(([value, seed, of]) => mark[of](at[of], y(value), 3.2, { "data-arm": of, "data-seed": seed, "data-value": value })),
          ...means, ...ARMS.flatMap(([of], i) => key(numbers[of], (cy) => mark[of](12, cy, 4), i)), words(30, 60, difference, { ...left, "font-weight": "bold" }),
        ];
      });
    }
    function draw() {
      const { own, point: at, place, recorded, atEnd } = now, all = Array.from({ length: points }, (_, i) => now.inTraining(i + 1));
      const how = recorded ? "" : atEnd ? ", the end" : ", as two levels", end = steps(points), scale = isLog() ? log : same;
      const values = all.flatMap((one) => ARMS.flatMap(([of]) => one[of].values)).filter(Number.isFinite).map(scale);
      const nats = Array.from({ length: Math.ceil(measures.get("loss")[2]) + 1 }, (_, i) => [i, i]);
      const ticks = isLog() ? decades(values) : state.measure === "loss" ? nats : SHARES;
      const chance = { accuracy: 1 / symbols, loss: Math.log(symbols) }[state.measure];
      drawLines(course, { heading: `${measured()} in training${how}`, ticks, scale, chance, all, at: at - 1, along: (step) => step / end,
        label: `${measured()} over ${end} training steps; at ${steps(at)}, ${apart(all[at - 1])}.`,
        marks: all.map((_, i) => steps(i + 1)), axis: [0, end / 2, end] });
      drawSeeds(seeds, { heading: `after ${steps(at)} steps`, one: all[at - 1], scale, chance, what: measured() });

      const [first, last] = [lengths[0], lengths.at(-1)], far = lengths.map((_, i) => now.atLength(i));
      drawLines(byLength, { heading: "accuracy after training, by tokens", ticks: SHARES, scale: same, chance: 1 / symbols, all: far, at: place,
        along: (tokens) => Math.log(tokens / first) / Math.log(last / first), marks: lengths, axis: lengths.filter((_, i) => (lengths.length - i) % 2), shade: trained,
        label: `Accuracy of the last token over lengths from ${first} to ${last}; at ${state.length} tokens, ${apart(far[place])}.` });
      drawSeeds(seedsThere, { heading: `after training, at ${state.length} tokens`, one: far[place], scale: same, chance: 1 / symbols, what: "accuracy" });
    }

    function refresh() {
      now = chosen();
      group.show(state.setup);
      picks.forEach(([key, list]) => list.show(offered(), state[key]));
      measure.show(state.measure);
      [point, length].forEach((label) => label.show());
      draw();
      tell();
    }
    return keepUp({ model, el }, state, refresh);
  },
};
