// A trained Hamiltonian loop at work: its energies, what pulls against what, how spread its attention is, its answer.

export default {
  render({ model, el, page }) {
    const [dynamics, models, sequences, loops, trained, symbols] = ["dynamics", "models", "sequences", "loops", "trained", "symbols"]
      .map((name) => model.get(name));
    const values = new Float32Array(bytesOf(model, "values")), state = { ...model.get("selected") }, names = dynamics.map(([name]) => name);
    const QUANTITIES = ["potential", "kinetic", "pull", "slope", "balance", "rowF", "rowE", "answer"];
    const ends = { model: [1, models], sequence: [1, sequences], loop: [0, loops] };
    if (page) {
      const found = fromAddress(model.get("name"));
      if (names.includes(found.dynamics)) state.dynamics = found.dynamics;
      for (const [key, [low, high]] of Object.entries(ends))
        if (/^\d{1,3}$/.test(found[key]) && found[key] >= low && found[key] <= high) state[key] = Number(found[key]);
    }
    const select = selector({ model, page }, state, refresh);
    /** The chosen way: of each quantity, its values after 0, 1, … loops; `total` is H. */
    function chosen() {
      const which = names.indexOf(state.dynamics), place = (which * models + state.model - 1) * sequences + state.sequence - 1;
      const way = Object.fromEntries(QUANTITIES.map((name, q) => [name,
        Array.from({ length: loops + 1 }, (_, t) => values[(place * (loops + 1) + t) * QUANTITIES.length + q])]));
      const total = way.potential.map((e, t) => e + way.kinetic[t]), [, , pull] = dynamics[which];
      return { ...way, total, pulled: pull !== 0 };
    }

    // ---- words ------------------------------------------------------------------------------------------------------
    const number = (x) => (Math.abs(x) < 0.0005 ? "0" : `${x < 0 ? "−" : ""}${Math.abs(x).toFixed(Math.abs(x) < 10 ? 3 : Math.abs(x) < 1000 ? 1 : 0)}`);
    const when = () => (state.loop ? `after ${state.loop} loop${state.loop === 1 ? "" : "s"}` : "before the first loop");
    function tell(way) {
      const rounding = (i) => 1e-6 * (1 + Math.abs(way.potential[i]) + way.kinetic[i]), t = state.loop;
      const rises = way.total.slice(1).filter((h, i) => h - way.total[i] > rounding(i)).length;
      const cosine = way.balance[t], even = Math.abs(way.pull[t] / way.slope[t] - 1) < 0.02 && cosine > 0.98;
      const forces = !way.pulled ? `The slope's force is ${number(way.slope[t])}, and nothing pulls against it.`
        : `F pulls with ${number(way.pull[t])}, the slope of the energy with ${number(way.slope[t])}` +
          (even ? ", against each other: they hold." : `; the cosine between the pull and the way up is ${signed(cosine, 2)}.`);
      told.tell(`${state.dynamics}, model ${state.model}, sequence ${state.sequence}, ${when()}: the potential energy is ${number(way.potential[t])}, ` +
        `that of motion ${number(way.kinetic[t])}, and H ${number(way.total[t])}; H rises in ${rises} of ${loops} loops. ${forces} ` +
        `The right answer has a probability of ${percent(way.answer[t])}.`);
    }

    // ---- what is on the page ----------------------------------------------------------------------------------------
    const count = (many) => Array.from({ length: many }, (_, i) => `${i + 1}`);
    const groups = [
      ["dynamics", choice("dynamics", names, state.dynamics, (name) => select({ dynamics: name }))],
      ...[["model", models], ["sequence", sequences]].map(([key, many]) =>
        [key, choice(key, count(many), `${state[key]}`, (value) => select({ [key]: Number(value) }))]),
    ];
    const loop = slider([0, loops, loops], { name: "loop", value: () => state.loop, shown: () => `${state.loop} of ${loops}`,
      changed: (to) => select({ loop: to }) });
    const panels = ["energies", "forces", "entropies", "answer"].map((name) => make("div", { "data-panel": name }));
    const [told, heard] = announced();
    el.classList.add("explorer", "motion");
    el.append(
      make("div", { class: "controls", role: "group", "aria-label": "Choose a model and a sequence" }, ...groups.map(([, group]) => group)),
      loop, told, heard, make("div", { class: "panels" }, ...panels),
      make("p", { class: "legend", text:
        `The last token's. H is its potential energy e(z) plus that of motion, ½‖v‖², without a spring. Forces: ‖α(F\u00a0−\u00a0Z)‖, and ‖β∇e‖, which points ` +
        "downhill, to −∇e. Where the two lines meet and the pull points uphill (a cosine of 1), the state can rest. Entropies of the row by which F looks, from " +
        "LN(z\u00a0+\u00a0x), and by which the energy does, from z, over their largest. Dotted and upright: " +
        `the ${trained} loops of training; dotted and level: zero, or chance, 1/${symbols}.` }),
    );

    // ---- pictures ---------------------------------------------------------------------------------------------------
    const TOP = 82, BOTTOM = 212, FRAME = { left: 52, right: 12, top: TOP, bottom: BOTTOM, height: 248 };
    const left = { "text-anchor": "start", "dominant-baseline": "central" }, KINDS = ["line", "alone", "third"];
    /** Lines over loops, [what it is called, values] each, and a level that matters. */
    function draw(panel, heading, ticks, lines, level) {
      const t = state.loop, label = `${heading} over ${loops} loops; ${when()}, ${lines.map(([name, of]) => `${name} ${number(of[t])}`).join(", ")}.`;
      chart(panel, { ...FRAME, heading, label, ticks }, (from, to, y) => {
        const x = (at) => from + 6 + (at / loops) * (to - from - 12), dots = { stroke: "currentColor", "stroke-dasharray": "1 3", opacity: 0.8 };
        const path = (of) => of.map((value, i) => `${i ? "L" : "M"}${x(i).toFixed(1)} ${y(value).toFixed(1)}`).join("");
        const inside = level > ticks[0][0] && level < ticks.at(-1)[0];
        return [
          make("path", { d: `M${x(trained)} ${TOP}V${BOTTOM}`, ...dots }), ...(inside ? [make("path", { d: `M${from} ${y(level)}H${to}`, ...dots })] : []),
          ...lines.flatMap(([name, of], i) => [
            make("path", { class: KINDS[i], fill: "none", d: path(of), "data-line": name }),
            make("path", { class: KINDS[i], fill: "none", d: `M0 ${28 + 16 * i}h24` }), words(30, 28 + 16 * i, `${name} ${number(of[t])}`, left),
          ]),
          make("g", { class: "cursor" }, make("path", { d: `M${x(t)} ${TOP}V${BOTTOM}`, stroke: "currentColor", opacity: 0.4 }),
            ...lines.map(([name, of]) => make("circle", { cx: x(t), cy: y(of[t]), r: 4, "data-of": name, "data-value": of[t] }))),
          ...[0, loops / 2, loops].map((at) => words(x(at), BOTTOM + 16, at)), words((from + to) / 2, BOTTOM + 30, "loops"),
        ];
      });
    }
    function refresh() {
      const way = chosen(), [energies, forces, entropies, answer] = panels, ticksOf = (...all) => scaleOf(all.flat()).ticks;
      groups.forEach(([key, group]) => group.show(`${state[key]}`));
      loop.show();
      draw(energies, "energies of the token", ticksOf(way.potential, way.kinetic, way.total),
        [["potential", way.potential], ["of motion", way.kinetic], ["H", way.total]], 0);
      draw(forces, "forces on it", ticksOf(way.pull, way.slope).filter(([value]) => value > -1e-9),
        way.pulled ? [["pull to F", way.pull], ["slope of the energy", way.slope]] : [["slope of the energy", way.slope]]);
      draw(entropies, "entropy of its attention", SHARES, way.pulled ? [["F's", way.rowF], ["the energy's", way.rowE]] : [["the energy's", way.rowE]]);
      draw(answer, "the right answer's probability", SHARES, [["right answer", way.answer]], 1 / symbols);
      tell(way);
    }
    return keepUp({ model, el }, state, refresh);
  },
};
