// A token that looks at a few places, again and again: what a gate does to its steps, beside a constant of the same mean.

/** (1 − x^(1−q)) / (q − 1) of 1/x: what Tsallis' entropy is the mean of. */
const surprise = (x, q) => -Math.expm1((q - 1) * Math.log(x)) / (q - 1);

/** Where a token in state z looks: its row p, the mean of what stands there, S of the row, and h, S over its largest. */
function look({ places, order }, sharpness, z) {
  const sum = (values) => values.reduce((a, b) => a + b), scores = places.map((at) => sharpness * z * at), best = Math.max(...scores);
  const raised = scores.map((score) => Math.exp(score - best)), whole = sum(raised), p = raised.map((x) => x / whole);
  const entropy = sum(p.map((share) => (share ? share * surprise(share, order) : 0)));
  return { p, mean: sum(p.map((share, j) => share * places[j])), entropy, open: entropy / surprise(1 / places.length, order) };
}

/** How far a gate is open; as models/gates.py has it. */
function opened({ gate, a, b, c }, { entropy, open: h }) {
  if (gate === "open") return 1;
  if (gate === "constant") return c;
  if (gate === "exponential") return Math.exp(-entropy);
  if (gate === "learned") return 1 / (1 + Math.exp(-a - b * h));
  return gate === "diffuse" ? h : 1 - h;
}

/** A token's way through all loops, and how it ends; `steps` has one entry more than there are loops, as `travel` in Python. */
function travel(toy, chosen) {
  const steps = [];
  for (let z = chosen.start; steps.length <= toy.loops; ) {
    const seen = look(toy, chosen.sharpness, z), gate = opened(chosen, seen), pull = chosen.gain * (seen.mean - z);
    steps.push({ z, ...seen, gate, pull });
    z += gate * pull;
  }
  const moves = steps.slice(1).map(({ z }, t) => z - steps[t].z);
  const mean = steps.slice(0, -1).reduce((all, { gate }) => all + gate, 0) / toy.loops;
  const rest = moves.findLastIndex((move) => Math.abs(move) > toy.tolerance) + 1;
  return { steps, moves, mean, rest, end: ending(toy, steps.at(-1), moves, rest) };
}

/** "rest", where F is about 0; "stopped", where it is not; "away", "swings", or "on" and on. */
function ending({ loops, tolerance }, { z, pull }, moves, rest) {
  if (rest < loops) return Math.abs(pull) > 10 * tolerance ? "stopped" : "rest";
  if (Math.abs(z) > 10) return "away";
  return moves.slice(-4).every((move, i, last) => i === 0 || move * last[i - 1] < 0) ? "swings" : "on";
}

export default {
  render({ model, el, page }) {
    const toy = Object.fromEntries(["places", "order", "loops", "tolerance"].map((key) => [key, model.get(key)])), { loops } = toy;
    const ends = Object.fromEntries(model.get("ends").map(([name, ...end]) => [name, end])), state = { ...model.get("selected") };
    if (page) {
      const found = fromAddress(model.get("name"));
      if (model.get("gates").includes(found.gate)) state.gate = found.gate;
      for (const [key, [low, high]] of Object.entries(ends)) {
        const known = key === "loop" ? /^\d{1,2}$/ : /^-?\d{1,2}(\.\d{1,6})?$/;
        if (known.test(found[key]) && found[key] >= low && found[key] <= high) state[key] = Number(found[key]);
      }
    }
    const select = selector({ model, page }, state, refresh);

    // ---- words ------------------------------------------------------------------------------------------------------
    /** A sign, and no −0.00. */
    const exact = (x, digits = 2) => (Math.abs(x) < 0.5 * 10 ** -digits ? (0).toFixed(digits) : signed(x, digits));
    /** A length, or a share, to two digits, however small. */
    const small = (x) => (x < 5e-7 ? "0" : x >= 0.0095 ? x.toFixed(2) : Number(x.toPrecision(1)).toFixed(Math.ceil(-Math.log10(x))));
    const NAMES = { sharpness: "sharpness β", start: "start z", gain: "gain of F", a: "a", b: "b", c: "c", loop: "loop" };
    const VALUES = {
      sharpness: () => state.sharpness.toFixed(1), start: () => exact(state.start, 1), gain: () => state.gain.toFixed(1),
      a: () => exact(state.a, 1), b: () => exact(state.b, 1), c: () => state.c.toFixed(2), loop: () => `${state.loop} of ${loops}`,
    };
    /** What is read out of the loop slider: what it changes in the first picture, too. */
    const reached = ({ z, gate }) => `${VALUES.loop()}: z\u00a0=\u00a0${exact(z)}, gate ${small(gate)}`;
    const CALLED = { learned: "by entropy, σ(a + b\u00a0h)", constant: "constant c" }; // as in the chapter
    const called = () => ({ open: "plain step", constant: `constant ${VALUES.c()}`, learned: "gate by entropy" })[state.gate] ?? `${state.gate} gate`;
    const OF_A_GATE = { a: "learned", b: "learned", c: "constant" };
    const gated = () => !["open", "constant"].includes(state.gate);
    const times = (k) => `${k} loop${k === 1 ? "" : "s"}`;
    /** How a way ends, after "it"; `shut` is said of a gate that stopped it. */
    function ended({ steps, moves, rest, end }, shut) {
      const { z, gate, pull } = steps.at(-1), last = Math.abs(moves.at(-1));
      if (end === "rest") return `${rest ? `comes to rest after ${times(rest)}` : "is at rest from the start"}, at z\u00a0=\u00a0${exact(z)}`;
      if (end === "away") return `does not come to rest in ${loops} loops: it runs away`;
      if (end === "swings") return `does not come to rest in ${loops} loops: it swings to and fro (by ${small(last)} in the last)`;
      if (end === "on") return `is not at rest after ${loops} loops: the last moves it by ${small(last)}`;
      const how = rest ? `stops after ${times(rest)},` : "stays", why = shut ? `, but the gate is at ${small(gate)}` : "";
      return `${how} at z\u00a0=\u00a0${exact(z)}, and has not arrived: F\u00a0=\u00a0${exact(pull)} there${why}`;
    }
    function tell({ own, control, plain }) {
      const who = state.gate === "open" ? "plain step, all gates open," : called();
      const parts = [`With the ${who} the state ${ended(own, gated())}.`];
      if (gated()) parts.push(`With the constant of the same mean, ${small(own.mean)}, it ${ended(control)}.`);
      if (state.gate !== "open") parts.push(`With the plain step it ${ended(plain)}.`);
      told.tell(parts.join(" "));
    }
    /** What happens in the loop that comes next, in two parts. */
    function inWords({ z, p, mean, entropy, open, gate, pull }) {
      const most = p.indexOf(Math.max(...p)), alike = open > 1 - 1e-9;
      const where = alike ? `all places alike (${percent(p[0])} each)` : `${exact(toy.places[most], 1)} most (${percent(p[most])})`;
      return {
        looks: `At z\u00a0=\u00a0${exact(z)} it looks at ${where}`,
        sees: `what it looks at has the mean ${exact(mean)}, so F\u00a0=\u00a0${exact(pull)}`,
        entropies: `S\u00a0${small(entropy)}, h\u00a0${small(open)} → gate ${small(gate)}`, moves: `gate\u00a0·\u00a0F = ${exact(gate * pull, 3)}`,
      };
    }

    // ---- what is on the page ----------------------------------------------------------------------------------------
    const quiet = { "data-lm-suppress-shortcuts": "true" };
    const cases = model.get("cases").map(([text, chosen]) => make("button", { type: "button", text, ...quiet,
      click: () => select({ ...chosen, loop: 0 }) }));
    const gates = choice("gate", model.get("gates"), state.gate, (gate) => select({ gate }), CALLED);
    let now = null; // the chosen loop's step
    const sliders = Object.entries(NAMES).map(([key, name]) => slider(ends[key], {
      name, value: () => state[key], shown: VALUES[key], changed: (value) => select({ [key]: value }),
      ...(key === "loop" ? { said: () => reached(now) } : {}), hidden: () => key in OF_A_GATE && OF_A_GATE[key] !== state.gate,
    }));
    const bars = make("div", {}), path = make("div", {}), moved = make("div", {});
    const [told, heard] = announced();
    el.classList.add("explorer", "gates");
    el.append(
      make("div", { class: "cases", role: "group", "aria-label": "Cases to try" }, make("b", { text: "try" }), ...cases),
      gates,
      make("div", { role: "group", "aria-label": "Set up the token, and choose a loop" }, ...sliders),
      told, heard,
      make("div", { class: "panels" }, bars, path, moved),
      make("p", { class: "legend", text:
        `A toy: a token's state is one number, z; ${toy.places.length} places hold the numbers at which the bars stand. It looks ` +
        "at them by softmax(β\u00a0z\u00a0·\u00a0places): the farther z is from 0, the surer. F\u00a0=\u00a0gain · (mean of what it looks at − z); z moves by gate · F. " +
        `S: Tsallis' entropy of the row at q\u00a0=\u00a0${toy.order}; h: S over its largest value. Gates: open 1, sharp 1\u00a0−\u00a0h, diffuse h, ` +
        "exponential exp(−S), by entropy σ(a\u00a0+\u00a0b\u00a0h), constant c. Dashed, beside a gate that is no constant, the control: in each loop the mean of the gate's " +
        `${loops} values on its own way. At rest: from then on no loop moves z by more than ${toy.tolerance}. Arrived: F is 0, within ` +
        `${10 * toy.tolerance}. What is beyond an axis is drawn at its end.` }),
    );

    // ---- pictures ---------------------------------------------------------------------------------------------------
    const TOP = 66, BOTTOM = 196, FRAME = { left: 40, right: 10, top: TOP, bottom: BOTTOM, height: 236 };
    const KINDS = ["line", "alone"]; // of lines: a gate's, and the control's
    const DECADES = [[-6, "10⁻⁶"], [-5, ""], [-4, "10⁻⁴"], [-3, ""], [-2, "0.01"], [-1, ""], [0, "1"], [1, ""]];
    const left = { "text-anchor": "start", "dominant-baseline": "central" };
    function drawBars(step) {
      const [low, high] = ends.start, { z, p, mean, gate, pull } = step, told = inWords(step);
      const looks = `where it looks ${state.loop ? `after ${times(state.loop)}` : "at first"}`;
      const label = `${looks}: ${p.map((share, j) => `${exact(toy.places[j], 1)} ${percent(share)}`).join(", ")}. ` +
        `${told.looks}; ${told.sees}. ${told.entropies}; ${told.moves}.`;
      chart(bars, { ...FRAME, heading: looks, label, ticks: SHARES }, (from, to, y) => {
        const x = (value) => from + 8 + ((within(value, low, high) - low) / (high - low)) * (to - from - 16);
        const [at, next] = [x(z), x(z + gate * pull)], by = Math.sign(next - at), tip = Math.min(5, Math.abs(next - at)) * by;
        const stroke = { class: "step", fill: "none", stroke: "currentColor", "stroke-width": 2 };
        return [
          words(0, 30, told.entropies, left), words(0, 46, `F ${exact(pull)}, ${told.moves}`, left),
          ...p.map((share, j) => {
            const wide = 0.14 * (x(1) - x(0)), place = toy.places[j];
            return make("rect", { x: x(place) - wide / 2, y: y(share), width: wide, height: BOTTOM - y(share), class: "bar", "data-place": place });
          }),
          make("path", { class: "mean", d: `M${x(mean)} ${BOTTOM}v${TOP - BOTTOM}`, stroke: "currentColor", "stroke-dasharray": "2 3" }),
          words(within(x(mean), from + 20, to - 20), TOP - 5, "mean"),
          make("g", { class: "cursor" }, make("circle", { cx: at, cy: BOTTOM, r: 5, "data-z": z })),
          ...(Math.abs(next - at) > 1 ? [make("path", { d: `M${at} ${BOTTOM}H${next}m${-tip}-4l${tip} 4l${-tip} 4`, ...stroke })] : []),
          ...[low, low / 2, 0, high / 2, high].map((value) => words(x(value), BOTTOM + 18, exact(value, 0))),
          words((from + to) / 2, BOTTOM + 32, "places, and z (○)"),
        ];
      });
    }
    /** Lines over loops, [name, values from loop `first` on] each: the gate's, and the control's, if there is one. */
    function lines(panel, { heading, label, ticks, first, drawn, mark = [] }) {
      chart(panel, { ...FRAME, heading, label, ticks }, (from, to, y) => {
        const x = (loop) => from + 6 + (loop / loops) * (to - from - 12), at = state.loop;
        const point = (value, i) => `${i ? "L" : "M"}${x(i + first).toFixed(1)} ${y(value).toFixed(1)}`;
        const line = (values, kind) => make("path", { class: kind, fill: "none", d: values.map(point).join("") });
        const key = (kind, i) => [make("path", { class: kind, fill: "none", d: `M0 ${28 + 16 * i}h24` }), words(30, 28 + 16 * i, drawn[i][0], left)];
        const dots = at < first ? [] : drawn.map(([, values]) => make("circle", { cx: x(at), cy: y(values[at - first]), r: 4 }));
        return [
          ...mark.flatMap(([value, text]) => [
            make("line", { x1: from, x2: to, y1: y(value), y2: y(value), stroke: "currentColor", "stroke-dasharray": "1 3" }),
            words(to, y(value) - 4, text, { "text-anchor": "end" }),
          ]),
          ...drawn.map(([, values], i) => line(values, KINDS[i])), ...KINDS.slice(0, drawn.length).flatMap(key),
          make("g", { class: "cursor" },
            make("line", { x1: x(at), x2: x(at), y1: TOP, y2: BOTTOM, stroke: "currentColor", opacity: 0.4 }), ...dots),
          ...[0, loops / 2, loops].map((value) => words(x(value), BOTTOM + 18, value)), words((from + to) / 2, BOTTOM + 32, "loops"),
        ];
      });
    }
    function drawLines({ own, control }) {
      const ways = gated() ? [[called(), own], [`constant ${small(own.mean)}`, control]] : [[called(), own]];
      const each = (of) => ways.map(([name, way]) => [name, of(way)]);
      const saying = (drawn, i, said) => drawn.map(([name, values]) => `${name}: ${said(values[i])}`).join(", ");

      const z = each(({ steps }) => steps.map((step) => step.z)), far = Math.max(1, ...z.flatMap(([, values]) => values).map(Math.abs));
      const most = Math.min(4, Math.ceil(far)), ticks = Array.from({ length: 2 * most + 1 }, (_, i) => [i - most, exact(i - most, 0)]);
      const when = [...new Set([state.loop, loops])].map((loop) => `after ${times(loop)}: ${saying(z, loop, exact)}`);
      lines(path, { heading: "its way: z", label: `The state z over loops, ${when.join("; ")}.`, ticks, first: 0, drawn: z });

      const length = each(({ moves }) => moves.map(Math.abs)), log = (value) => Math.log10(Math.max(value, 1e-300));
      const of = [...new Set([Math.max(1, state.loop), loops])].map((loop) => `in loop ${loop}: ${saying(length, loop - 1, small)}`);
      lines(moved, {
        heading: "length of each step", label: `The length of each step, on a logarithmic scale, ${of.join("; ")}.`, ticks: DECADES, first: 1,
        drawn: length.map(([name, values]) => [name, values.map(log)]), mark: [[log(toy.tolerance), "at rest below"]],
      });
    }

    function refresh() {
      const own = travel(toy, state), plain = travel(toy, { ...state, gate: "open" });
      const control = travel(toy, { ...state, gate: "constant", c: own.mean });
      now = own.steps[state.loop];
      gates.show(state.gate);
      sliders.forEach((label) => label.show());
      drawBars(now);
      drawLines({ own, control });
      tell({ own, control, plain });
    }
    return keepUp({ model, el }, state, refresh);
  },
};
