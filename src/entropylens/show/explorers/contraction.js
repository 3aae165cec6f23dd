// Tokens to drag, a temperature and weights: how far a step of attention stretches, and what the bounds allow.

const BOUNDS = { // in the order of the table; each has its own dashes and mark, so that none needs a colour
  printed: { called: "printed, spectral", mark: "●", dashes: "none", class: "line" },
  frobenius: { called: "printed, Frobenius", mark: "■", dashes: "7 3" },
  corrected: { called: "corrected", mark: "▲", dashes: "1 3" },
  ours: { called: "ours", mark: "◆", dashes: "8 3 2 3" },
};
const HOLDS = { true: "✓", false: "✗", null: "–" };
const SLACK = 1 + 1e-9; // for rounding, as in Python
const STEPS = 300; // of a climb: half a second at most

export default {
  render({ model, el, page }) {
    const toy = Object.fromEntries(["radius", "loops", "apart"].map((key) => [key, model.get(key)])), { loops, radius } = toy;
    for (const key of ["maps", "values"]) toy[key] = Object.fromEntries(model.get(key)); // pairs, since a notebook sorts keys
    const ends = Object.fromEntries(model.get("ends").map(([name, ...end]) => [name, end])), state = { ...model.get("selected") };
    const counts = model.get("counts"), orders = model.get("orders"), most = state.places.length;
    const tokens = state.places.map((_, i) => i + 1), limits = { ...ends, temperature: ends.temperature.map((x) => 2 ** x) };
    if (page) {
      const found = fromAddress(model.get("name")), choices = { tokens: counts, token: tokens, q: orders, map: Object.keys(toy.maps), values: Object.keys(toy.values) };
      const number = (text, [low, high]) => /^-?\d{1,3}(\.\d{1,20})?(e-\d{1,2})?$/.test(text) && text >= low && text <= high;
      for (const [key, values] of Object.entries(choices)) state[key] = values.find((value) => `${value}` === found[key]) ?? state[key];
      for (const key of ["temperature", "turn", "size"]) if (number(found[key], limits[key])) state[key] = Number(found[key]);
      const at = (found.places ?? "").split(",");
      if (at.length === 2 * most && at.every((text) => number(text, ends.up))) state.places = tokens.map((i) => [Number(at[2 * i - 2]), Number(at[2 * i - 1])]);
    }
    const select = selector({ model, page }, state, refresh);
    const chosen = () => Math.min(state.token, state.tokens) - 1; // a token that is there
    const moved = (i, to) => ({ token: i + 1, places: state.places.map((at, j) => (i === j ? to : at)) });

    // ---- words ------------------------------------------------------------------------------------------------------
    /** A size to three digits, and no exponents. */
    const size = (x) => (x < 5e-4 ? (x < 1e-12 ? "0" : "<0.001") : x >= 99.95 ? x.toFixed(0) : x >= 9.995 ? x.toFixed(1) : x >= 0.0995 ? x.toFixed(2) : x.toFixed(3));
    const exact = (x, digits = 2) => (Math.abs(x) < 0.5 * 10 ** -digits ? (0).toFixed(digits) : signed(x, digits)); // no −0.00
    const NAMES = { across: "across", up: "up", temperature: "temperature τ", turn: "turned by", size: "size of W_V" };
    const VALUES = {
      across: () => exact(state.places[chosen()][0]), up: () => exact(state.places[chosen()][1]), temperature: () => size(state.temperature),
      turn: () => `${Math.round(state.turn)}°`.replace("-", "−"), size: () => exact(state.size),
    };
    const FROM = { across: () => state.places[chosen()][0], up: () => state.places[chosen()][1], temperature: () => Math.log2(state.temperature) };
    const TO = {
      across: (x) => moved(chosen(), [x, FROM.up()]), up: (y) => moved(chosen(), [FROM.across(), y]), temperature: (x) => ({ temperature: 2 ** x }),
    };
    const inside = (now) => now.size <= radius * SLACK && Math.abs(state.size) <= 0.5 * SLACK;
    /** Whether a bound holds; null: its hypotheses do not. */
    const holds = (name, now) => (["printed", "frobenius"].includes(name) && !inside(now) ? null : now.exact[2] <= now.bounds[name][2] * SLACK + 1e-12);
    const ratio = (now, name) => (now.bounds[name][2] ? (now.exact[2] ?? now.exact) / now.bounds[name][2] : 0);
    /** What the printed bound is at most in the whole ball, where its root is √n at most. */
    const promise = (now) => now.bounds.printed[0] + Math.sqrt(state.tokens) * Math.abs(state.size);
    const promises = (now) => inside(now) && promise(now) < 1;
    function whereItLooks(now) {
      const row = now.rows[chosen()], best = row.indexOf(Math.max(...row)), spread = Math.max(...row) - Math.min(...row);
      const alike = `${state.tokens === 2 ? "both" : `all ${state.tokens}`}${spread < 5e-4 ? "" : " nearly"} alike`;
      const where = spread < 0.01 ? alike : `${best === chosen() ? "itself" : `token ${best + 1}`} most (${percent(row[best])})`;
      return `Token ${chosen() + 1} looks at ${where}: ${size(entropy(row))} nats of entropy, of ${size(Math.log(state.tokens))} at most.`;
    }
    function verdict(now) {
      const norm = now.exact[2], allowed = now.bounds.printed[2], over = norm > allowed * SLACK;
      const stretched = `A small step is stretched by up to ${size(norm)}; the printed bound, with spectral norms, allows ${size(allowed)}.`;
      if (!inside(now)) return `${stretched} The theorem's hypotheses do not hold here${over ? ", so this is no counterexample" : ""}.`;
      return `${stretched} ${over ? `Broken, by a factor of ${size(ratio(now, "printed"))}: a counterexample.` : "It holds here."}`;
    }
    function inTheLoop(now, [plain, residual]) {
      const left = frobenius(step(now.head, now.y)), due = promises(now) ? ` (promised by the printed bound: ×\u00a0${size(promise(now))} at most)` : "";
      const out = inside(now) && left > SLACK ? ` It leaves the unit ball: ‖F(X\u00a0+\u00a0Z)‖ is ${left.toFixed(3)}.` : "";
      return `A loop of Z\u00a0←\u00a0Z\u00a0+\u00a0F(X\u00a0+\u00a0Z) takes two starts to ×\u00a0${size(residual[1])} their distance, ` +
        `one of Z\u00a0←\u00a0F(X\u00a0+\u00a0Z) to ×\u00a0${size(plain[1])}${due}.${out}`;
    }

    // ---- what is on the page ----------------------------------------------------------------------------------------
    const quiet = { "data-lm-suppress-shortcuts": "true" };
    const button = (text, to) => make("button", { type: "button", text, ...quiet, click: () => select(to()) });
    const cases = model.get("cases").map(([text, all]) => button(text, () => all));
    const search = [button("at random", () => atRandom(toy, state, ends)), button("climb", () => climb(toy, state, STEPS))];
    const numbers = (label, values, key) => {
      const group = choice(label, values.map(String), `${state[key]}`, (value) => select({ [key]: Number(value) }));
      return Object.assign(group, { update: () => group.show(`${key === "token" ? chosen() + 1 : state[key]}`) });
    };
    const named = (label, values, key) => {
      const group = choice(label, Object.keys(values), state[key], (value) => select({ [key]: value }));
      return Object.assign(group, { update: () => group.show(state[key]) });
    };
    const token = numbers("look from token", tokens, "token");
    const choices = [numbers("tokens", counts, "tokens"), token, named("M", toy.maps, "map"), named("W_V", toy.values, "values"), numbers("q", orders, "q")];
    const sliders = Object.fromEntries(Object.entries(NAMES).map(([key, name]) => [key, slider(ends[key], {
      name, value: FROM[key] ?? (() => state[key]), shown: VALUES[key], changed: (value) => select(TO[key]?.(value) ?? { [key]: value }),
    })]));
    const plane = make("div", {}), bars = make("div", {}), curves = make("div", {}), loop = make("div", {}), table = make("table", { class: "sums" });
    const [told, heard] = announced();
    el.classList.add("explorer", "contraction");
    el.append(
      make("div", { class: "cases", role: "group", "aria-label": "Cases to try" }, make("b", { text: "try" }), ...cases),
      make("div", { class: "cases", role: "group", "aria-label": "Search for a counterexample" }, make("b", { text: "search" }), ...search),
      make("div", { class: "panels" },
        make("div", { role: "group", "aria-label": "Temperature and weights" }, sliders.temperature, choices[2], sliders.turn, choices[3], sliders.size),
        make("div", { role: "group", "aria-label": "Tokens, and the entropy's order" }, choices[0], token, sliders.across, sliders.up, choices[4])),
      told, heard,
      make("div", { class: "panels" }, plane, bars, curves, loop),
      table,
      make("p", { class: "legend", text:
        "Circles: tokens, Y\u00a0=\u00a0X\u00a0+\u00a0Z with X\u00a0=\u00a0Z; lines: where the chosen one looks; squares: F(Y). Logits are Y\u00a0M\u00a0Yᵀ with M\u00a0=\u00a0W_Q\u00a0W_Kᵀ/τ, so that " +
        "‖W_Q‖‖W_K‖ is 1/τ (spectral): a query is a token's state turned by the angle; M then mirrors it, or keeps only what is across. W_V keeps both directions or only across, times its size " +
        "‖W_V‖_F (below zero: values turned around). ✓ holds, ✗ broken, – no statement, as the hypotheses ‖Y‖_F ≤ 2 and ‖W_V‖_F ≤ ½ do not hold. Corrected: 4 for the printed 2, and ‖Y‖² where that is more. " +
        "J\u00a0=\u00a0diag(r)\u00a0−\u00a0rᵀr of the chosen token's row: ‖J‖ ≤ 2 max r(1\u00a0−\u00a0r) ≤ ½, and ≤ S₂(r). " +
        `At random: a setting that satisfies them. Climb: ${STEPS} small changes of all but τ, each kept if ‖DF‖ gets larger beside the printed bound (spectral). ` +
        `Two starts: ${toy.apart} apart, in the direction that is stretched most. Promised: the printed bound's largest value in the whole ball, where that is below 1. What is beyond an axis is drawn at its end.` }),
    );

    // ---- pictures ---------------------------------------------------------------------------------------------------
    const SIDE = 300, HALF = SIDE / 2, UNIT = (HALF - 24) / ends.up[1], left = { "text-anchor": "start", "dominant-baseline": "central" };
    const px = ([across, up]) => [HALF + UNIT * across, HALF - UNIT * up];
    const circles = tokens.map((i) => make("g", { class: "token", "data-token": i }, make("circle", { r: 12 }), words(0, 0, i, { "dominant-baseline": "central" })));
    const behind = make("g", {}), title = words(0, 12, "", { "text-anchor": "start", "font-weight": "bold" });
    const axes = [[HALF, 0, HALF, SIDE], [0, HALF, SIDE, HALF]].map(([x1, y1, x2, y2]) => make("line", { x1, y1, x2, y2, stroke: "currentColor", opacity: 0.25 }));
    const map = make("svg", { viewBox: `0 -20 ${SIDE} ${SIDE + 20}`, class: "chart plane", role: "img" }, title, ...axes, behind, ...circles);
    title.setAttribute("y", -8);
    plane.append(map);
    let held = null; // the token that is dragged; circles stay in the page, or a finger would lose them
    map.addEventListener("pointerdown", (event) => {
      const circle = event.target.closest(".token");
      if (!circle) return;
      held = Number(circle.dataset.token) - 1;
      map.setPointerCapture(event.pointerId);
      event.preventDefault();
      select({ token: held + 1 });
    });
    map.addEventListener("pointermove", (event) => {
      if (held === null) return;
      const box = map.getBoundingClientRect(), scale = SIDE / box.width, [low, high, steps] = ends.up, grid = (high - low) / steps;
      const place = [(event.clientX - box.left) * scale - HALF, HALF - ((event.clientY - box.top) * scale - 20)];
      select(moved(held, place.map((x) => within(Number((Math.round(x / UNIT / grid) * grid).toFixed(6)), low, high))));
    });
    const still = (event) => event.target.closest(".token") && event.preventDefault(); // a finger drags a token, and scrolls elsewhere
    map.addEventListener("touchstart", still, { passive: false });
    for (const end of ["pointerup", "pointercancel"]) map.addEventListener(end, () => (held = null));

    function drawPlane(now) {
      const sent = step(now.head, now.y), row = now.rows[chosen()], [x1, y1] = px(now.y[chosen()]);
      const fits = now.size <= radius * SLACK ? "≤" : ">", places = now.y.map((at, i) => `token ${i + 1} at ${at.map((x) => exact(x)).join(", ")}`);
      title.textContent = `tokens: ‖Y‖ ${size(now.size)} ${fits} ${radius}, ‖W_V‖ ${size(Math.abs(state.size))} ${Math.abs(state.size) <= 0.5 * SLACK ? "≤" : ">"} ½`;
      map.setAttribute("aria-label", `Tokens in the plane: ${places.join("; ")}. The Frobenius norm of Y is ${size(now.size)}, ${fits} ${radius}.`);
      circles.forEach((circle, i) => {
        const [x, y] = px(state.places[i]);
        circle.setAttribute("transform", `translate(${x} ${y})`);
        circle.setAttribute("class", i === chosen() ? "token chosen" : "token");
        circle.style.display = i < state.tokens ? "" : "none";
      });
      behind.replaceChildren(
        ...now.y.map((at, i) => [px(at), row[i]]).map(([[x2, y2], share], i) => (i === chosen()
          ? make("circle", { cx: x1, cy: y1, r: 12 + 5 * share, class: "look", "data-share": share, "stroke-width": 10 * share })
          : make("line", { x1, y1, x2, y2, class: "look", "data-share": share, "stroke-width": 10 * share }))),
        ...sent.map(px).map(([x, y], i) => make("rect", { x: x - 4, y: y - 4, width: 8, height: 8, class: i === chosen() ? "sent chosen" : "sent" })),
      );
    }
    const BOTTOM = 236, FRAME = { left: 40, right: 12, top: 96, bottom: BOTTOM, height: 276 };
    function drawBars(now) {
      const row = now.rows[chosen()], all = now.rows.map(entropy), mean = sum(all) / all.length, j = softmax(row);
      const own = `softmax: ‖J‖ ${size(j.norm)} ≤ ${size(j.most)}, ≤ S₂ = ${size(j.tsallis)}`;
      const label = `Attention of token ${chosen() + 1}: ${row.map((share, j) => `to ${j + 1} ${percent(share)}`).join(", ")}. ` +
        `Its entropy is ${entropy(row).toFixed(3)} nats, that of all rows ${mean.toFixed(3)} on average, the largest possible ${Math.log(row.length).toFixed(3)}. Of its ${own}.`;
      chart(bars, { ...FRAME, left: 46, top: 86, heading: `where token ${chosen() + 1} looks`, label, ticks: SHARES }, (from, to, y) => [
        words(0, 30, `entropy ${entropy(row).toFixed(3)} nats, of ${Math.log(row.length).toFixed(3)} at most`, left), words(0, 46, `all rows, on average: ${mean.toFixed(3)}`, left), words(0, 62, own, left),
        words((from + to) / 2, BOTTOM + 32, "tokens"), ...row.flatMap((share, j) => {
          const wide = (to - from) / row.length, x = from + (j + 0.5) * wide;
          const bar = { x: x - 0.3 * wide, y: y(share), width: 0.6 * wide, height: BOTTOM - y(share), class: "bar", "data-token": j + 1 };
          return [make("rect", bar), words(x, BOTTOM + 16, j + 1, j === chosen() ? { "font-weight": "bold" } : {})];
        })]);
    }
    function key(i, text, attributes, mark = "") {
      return [make("path", { d: `M0 ${28 + 16 * i}h26`, fill: "none", ...attributes }), words(13, 28 + 16 * i, mark, { "dominant-baseline": "central" }), words(32, 28 + 16 * i, text, left)];
    }
    const styled = (name) => ({ class: BOUNDS[name].class ?? "alone", style: `stroke-dasharray: ${BOUNDS[name].dashes}` });
    function drawCurves(now) {
      const [low, high, steps] = ends.temperature, along = Array.from({ length: steps + 1 }, (_, i) => low + ((high - low) * i) / steps);
      const all = along.map((x) => sizes(toy, { ...state, temperature: 2 ** x })), names = Object.keys(BOUNDS);
      const said = (name) => `${BOUNDS[name].called} ${size(ratio(now, name))} ${HOLDS[holds(name, now)]}`;
      const label = `‖DF‖ over each bound, by temperature from ${size(2 ** low)} to ${size(2 ** high)}; above 1 it is exceeded. At ${size(state.temperature)}: ${names.map(said).join(", ")}.`;
      const ticks = [[0, "0"], [0.5, ""], [1, "1"], [1.5, ""], [2, "2"]];
      chart(curves, { ...FRAME, heading: "‖DF‖ over the bound", label, ticks }, (from, to, y) => {
        const x = (log) => from + ((within(log, low, high) - low) / (high - low)) * (to - from), at = x(Math.log2(state.temperature));
        const line = (name) => make("path", { fill: "none", ...styled(name), "data-bound": name,
          d: all.map((each, i) => `${i ? "L" : "M"}${x(along[i]).toFixed(1)} ${y(ratio(each, name)).toFixed(1)}`).join("") });
        return [
          make("rect", { x: from, y: y(2), width: to - from, height: y(1) - y(2), class: "over" }), words(to - 4, y(2) + 12, "exceeded", { "text-anchor": "end" }),
          make("line", { x1: from, x2: to, y1: y(1), y2: y(1), stroke: "currentColor", "stroke-width": 2 }),
          ...names.map(line), ...names.flatMap((name, i) => key(i, said(name), styled(name), BOUNDS[name].mark)),
          make("line", { x1: at, x2: at, y1: y(2), y2: BOTTOM, stroke: "currentColor", opacity: 0.4 }),
          ...[...names].reverse().map((name) => words(at, y(ratio(now, name)), BOUNDS[name].mark, { "dominant-baseline": "central", class: "halo", "data-at": name })),
          ...[[low, "1/64"], [0, "1"], [high, "64"]].map(([value, text]) => words(x(value), BOTTOM + 16, text)), words((from + to) / 2, BOTTOM + 32, "temperature τ"),
        ];
      });
    }
    const DECADES = [[-6, "10⁻⁶"], [-5, ""], [-4, "10⁻⁴"], [-3, ""], [-2, "0.01"], [-1, ""], [0, "1"], [1, ""], [2, "100"]];
    function drawLoop(now, [plain, residual]) {
      const log = (x) => Math.log10(Math.max(x, 1e-300)), due = Array.from(plain, (_, t) => promise(now) ** t);
      const drawn = [["Z ← F(X + Z)", plain, { class: "line" }], ["Z ← Z + F(X + Z)", residual, { class: "alone" }]];
      const bound = promises(now) ? `printed bound: × ${size(promise(now))} a loop at most` : `the printed bound promises nothing${inside(now) ? `: ${size(promise(now))}` : ""}`;
      if (promises(now)) drawn.push([bound, due, { class: "alone", style: "stroke-dasharray: 1 3" }]);
      const label = `Distance of two starts over loops, over the first distance. ${drawn.slice(0, 2).map(([name, all]) => `${name}: ${size(all[1])} after 1, ${size(all.at(-1))} after ${loops}`).join("; ")}; ${bound}.`;
      chart(loop, { ...FRAME, top: 80, heading: "distance of two starts", label, ticks: DECADES }, (from, to, y) => {
        const x = (t) => from + (t / loops) * (to - from), d = (all) => all.map((value, t) => `${t ? "L" : "M"}${x(t).toFixed(1)} ${y(log(value)).toFixed(1)}`).join("");
        return [
          make("line", { x1: from, x2: to, y1: y(0), y2: y(0), stroke: "currentColor", opacity: 0.6 }),
          ...drawn.flatMap(([name, all, how], i) => [make("path", { fill: "none", d: d(all), ...how }), ...key(i, i < 2 ? `${name}: × ${size(all[1])} in the first` : name, how)]),
          ...(drawn.length < 3 ? [words(0, 60, bound, left)] : []),
          ...[0, loops / 2, loops].map((t) => words(x(t), BOTTOM + 16, t)), words((from + to) / 2, BOTTOM + 32, "loops"),
        ];
      });
    }
    function drawTable(now) {
      const heads = ["", "score part", "value part", "all", ""].map((text) => make("th", { scope: "col", text }));
      const rows = [...Object.entries(BOUNDS).map(([name, { called }]) => [called, now.bounds[name], HOLDS[holds(name, now)]]), ["‖DF‖, exact", now.exact, ""]];
      table.replaceChildren(make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows.map(([name, parts, mark]) =>
        make("tr", {}, make("th", { scope: "row", text: name }), ...parts.map((x) => make("td", { text: size(x), "data-exactly": x })), make("td", { text: mark })))));
    }

    function refresh() {
      const now = sizes(toy, state, true), ways = [false, true].map((residual) => apart(toy, now.head, now.direction, residual));
      choices.forEach((group) => group.update());
      token.querySelectorAll("label").forEach((label, i) => (label.hidden = i >= state.tokens));
      Object.values(sliders).forEach((label) => label.show());
      drawPlane(now);
      drawBars(now);
      drawCurves(now);
      drawLoop(now, ways);
      drawTable(now);
      told.tell([whereItLooks(now), verdict(now), inTheLoop(now, ways)].join(" "));
    }
    return keepUp({ model, el }, state, refresh);
  },
};
