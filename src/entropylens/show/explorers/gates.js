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
    const percent = (share) => (share < 0.005 ? "<1\u00a0%" : `${Math.round(100 * share)}\u00a0%`);
    /** A sign, and no −0.00. */
    const exact = (x, digits = 2) => (Math.abs(x) < 0.5 * 10 ** -digits ? (0).toFixed(digits) : signed(x, digits));
    /** A length, or a share, to two digits, however small. */
    const small = (x) => (x < 5e-7 ? "0" : x >= 0.0095 ? x.toFixed(2) : Number(x.toPrecision(1)).toFixed(Math.ceil(-Math.log10(x))));
    const NAMES = {
      sharpness: () => `sharpness β ${state.sharpness.toFixed(1)}`, start: () => `start z ${exact(state.start, 1)}`,
      gain: () => `gain of F ${state.gain.toFixed(1)}`, a: () => `a ${exact(state.a, 1)}`, b: () => `b ${exact(state.b, 1)}`,
      c: () => `c ${state.c.toFixed(2)}`, loop: () => `loop ${state.loop} of ${loops}`,
    };
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
      const who = { open: "plain step, all gates open,", constant: `constant ${state.c.toFixed(2)}` }[state.gate] ?? `${state.gate} gate`;
      const parts = [`With the ${who} the state ${ended(own, gated())}.`];
      if (gated()) parts.push(`With the constant of the same mean, ${small(own.mean)}, it ${ended(control)}.`);
      if (state.gate !== "open") parts.push(`With the plain step it ${ended(plain)}.`);
      say(told, parts.join(" "));
    }
    /** What happens in the loop that comes next, in two parts. */
    function now({ z, p, mean, entropy, open, gate, pull }) {
      const most = p.indexOf(Math.max(...p)), alike = open > 1 - 1e-9;
      const where = alike ? `all places alike (${percent(p[0])} each)` : `${exact(toy.places[most], 1)} most (${percent(p[most])})`;
      return {
        looks: `At z\u00a0=\u00a0${exact(z)} it looks at ${where}`,
        sees: `what it looks at has the mean ${exact(mean)}, so F\u00a0=\u00a0${exact(pull)}`,
        entropies: `S\u00a0${small(entropy)}, h\u00a0${small(open)} → gate ${small(gate)}`, moves: `gate\u00a0·\u00a0F = ${exact(gate * pull, 3)}`,
      };
    }

    // ---- what is on the page ----------------------------------------------------------------------------------------
    function slider(name) {
      const [low, high, steps] = ends[name], words = make("span", {});
      const value = () => Math.round(1e6 * (low + ((high - low) * range.value) / steps)) / 1e6; // no tails of digits
      const range = make("input", {
        type: "range", min: 0, max: steps, step: 1, "data-lm-suppress-shortcuts": "true",
        input: () => select({ [name]: Math.min(high, value()) }),
      });
      const label = make("label", { class: "slide" }, words, range);
      label.show = () => {
        label.hidden = name in OF_A_GATE && OF_A_GATE[name] !== state.gate;
        range.value = Math.round(((state[name] - low) / (high - low)) * steps);
        range.setAttribute("aria-valuetext", NAMES[name]());
        say(words, NAMES[name]());
      };
      return label;
    }
    const quiet = { "data-lm-suppress-shortcuts": "true" };
    const cases = model.get("cases").map(([text, chosen]) => make("button", { type: "button", text, ...quiet,
      click: () => select({ ...chosen, loop: 0 }) }));
    const gates = choice("gate", model.get("gates"), state.gate, (gate) => select({ gate }));
    const sliders = Object.fromEntries(Object.keys(NAMES).map((name) => [name, slider(name)])), { loop, ...others } = sliders;
    const bars = make("div", {}), path = make("div", {}), moved = make("div", {});
    const told = make("p", { class: "told", "aria-live": "polite" });
    el.classList.add("explorer");
    el.append(
      make("div", { class: "cases", role: "group", "aria-label": "Cases to try" }, make("b", { text: "try" }), ...cases),
      gates,
      make("div", { role: "group", "aria-label": "Set up the token, and choose a loop" }, ...Object.values(others), loop),
      told,
      make("div", { class: "panels" }, bars, path, moved),
      make("p", { class: "legend", text:
        `A toy: a token's state is one number, z; ${toy.places.length} places hold the numbers at which the bars stand. It looks ` +
        "at them by softmax(β\u00a0z\u00a0·\u00a0places): the farther z is from 0, the surer. F\u00a0=\u00a0gain · (mean of what it looks at − z); z moves by gate · F. " +
        `S: Tsallis' entropy of the row at q\u00a0=\u00a0${toy.order}; h: S over its largest value. Gates: open 1, sharp 1\u00a0−\u00a0h, diffuse h, ` +
        "exponential exp(−S), learned σ(a\u00a0+\u00a0b\u00a0h), constant c. Dashed, the control: in each loop the mean of the gate's " +
        `${loops} values on its own way. At rest: from then on no loop moves z by more than ${toy.tolerance}. Arrived: F is 0, within ` +
        `${10 * toy.tolerance}. What is beyond an axis is drawn at its end.` }),
    );

    // ---- pictures ---------------------------------------------------------------------------------------------------
    const LEFT = 40, TOP = 66, BOTTOM = 196, HEIGHT = 236;
    const words = (x, y, text, attributes = {}) => make("text", { x, y, text, "font-size": 12, "text-anchor": "middle", fill: "currentColor", ...attributes });
    const DECADES = [[-6, "10⁻⁶"], [-5, ""], [-4, "10⁻⁴"], [-3, ""], [-2, "0.01"], [-1, ""], [0, "1"], [1, ""]];
    const left = { "text-anchor": "start", "dominant-baseline": "central" };
    const within = (x, low, high) => Math.min(high, Math.max(low, x));
    /** A picture as wide as its panel: ticks [value, words] on an axis from the first to the last, and what is drawn for its width. */
    function chart(panel, heading, label, ticks, draw) {
      const width = within(panel.clientWidth || 320, 220, 480), to = width - 10, [low, high] = [ticks[0][0], ticks.at(-1)[0]];
      const y = (value) => BOTTOM - ((within(value, low, high) - low) / (high - low)) * (BOTTOM - TOP);
      const axis = ticks.flatMap(([value, text], i) => [
        make("line", { x1: LEFT, x2: to, y1: y(value), y2: y(value), stroke: "currentColor", opacity: i ? 0.2 : 0.6 }),
        words(LEFT - 5, y(value), text, { "text-anchor": "end", "dominant-baseline": "central" }),
      ]);
      panel.replaceChildren(make("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, class: "chart", role: "img", "aria-label": label },
        words(0, 12, heading, { "text-anchor": "start", "font-weight": "bold" }), ...axis, ...draw(LEFT, to, y)));
    }
    function drawBars(step) {
      const [low, high] = ends.start, { z, p, mean, gate, pull } = step, told = now(step);
      const looks = `where it looks ${state.loop ? `after ${times(state.loop)}` : "at first"}`;
      const label = `${looks}: ${p.map((share, j) => `${exact(toy.places[j], 1)} ${percent(share)}`).join(", ")}. ` +
        `${told.looks}; ${told.sees}. ${told.entropies}; ${told.moves}.`;
      chart(bars, looks, label, [0, 0.5, 1].map((share) => [share, `${100 * share}\u00a0%`]), (from, to, y) => {
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
    /** Two lines over loops, the gate's and the control's: lists of values from loop `first` on. */
    function lines(panel, heading, label, ticks, first, { own, control, mark = [], names }) {
      chart(panel, heading, label, ticks, (from, to, y) => {
        const x = (loop) => from + 6 + (loop / loops) * (to - from - 12), at = state.loop;
        const point = (value, i) => `${i ? "L" : "M"}${x(i + first).toFixed(1)} ${y(value).toFixed(1)}`;
        const line = (values, kind) => make("path", { class: kind, fill: "none", d: values.map(point).join("") });
        const key = (kind, i) => [make("path", { class: kind, fill: "none", d: `M0 ${28 + 16 * i}h24` }), words(30, 28 + 16 * i, names[i], left)];
        const dots = at < first ? [] : [control, own].map((values) => make("circle", { cx: x(at), cy: y(values[at - first]), r: 4 }));
        return [
          ...mark.flatMap(([value, text]) => [
            make("line", { x1: from, x2: to, y1: y(value), y2: y(value), stroke: "currentColor", "stroke-dasharray": "1 3" }),
            words(to, y(value) - 4, text, { "text-anchor": "end" }),
          ]),
          line(own, "line"), line(control, "alone"), ...["line", "alone"].flatMap(key),
          make("g", { class: "cursor" },
            make("line", { x1: x(at), x2: x(at), y1: TOP, y2: BOTTOM, stroke: "currentColor", opacity: 0.4 }), ...dots),
          ...[0, loops / 2, loops].map((value) => words(x(value), BOTTOM + 18, value)), words((from + to) / 2, BOTTOM + 32, "loops"),
        ];
      });
    }
    function drawLines({ own, control }) {
      const names = [gated() ? `${state.gate} gate` : state.gate === "open" ? "plain step" : "itself", `constant ${small(own.mean)}`];
      const pair = (values, i, said) => `${names[0]}: ${said(values.own[i])}, ${names[1]}: ${said(values.control[i])}`;
      const both = (of) => ({ own: of(own), control: of(control) });

      const z = both(({ steps }) => steps.map((step) => step.z)), far = Math.max(1, ...[...z.own, ...z.control].map(Math.abs));
      const most = Math.min(4, Math.ceil(far)), ticks = Array.from({ length: 2 * most + 1 }, (_, i) => [i - most, exact(i - most, 0)]);
      const when = [...new Set([state.loop, loops])].map((loop) => `after ${times(loop)}: ${pair(z, loop, exact)}`);
      lines(path, "its way: z", `The state z over loops, ${when.join("; ")}.`, ticks, 0, { ...z, names });

      const length = both(({ moves }) => moves.map(Math.abs)), log = (values) => values.map((value) => Math.log10(Math.max(value, 1e-300)));
      const of = [...new Set([Math.max(1, state.loop), loops])].map((loop) => `in loop ${loop}: ${pair(length, loop - 1, small)}`);
      lines(moved, "length of each step", `The length of each step, on a logarithmic scale, ${of.join("; ")}.`, DECADES, 1, {
        own: log(length.own), control: log(length.control), names, mark: [[Math.log10(toy.tolerance), "at rest below"]],
      });
    }

    function refresh() {
      const own = travel(toy, state), plain = travel(toy, { ...state, gate: "open" });
      const control = travel(toy, { ...state, gate: "constant", c: own.mean });
      gates.show(state.gate);
      Object.values(sliders).forEach((label) => label.show());
      drawBars(own.steps[state.loop]);
      drawLines({ own, control });
      tell({ own, control, plain });
    }
    return keepUp({ model, el }, state, refresh);
  },
};
