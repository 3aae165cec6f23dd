// One language model at a time: how sure it is and how right, beside the entropy of what it learned from.

export default {
  render({ model, el, page }) {
    const populations = model.get("populations"), state = { ...model.get("selected") };
    const KEYS = ["of", "data", "width", "seed"];
    let at = null; // the snapshot; null is the last one
    const once = (values) => [...new Set(values)];

    // ---- what is chosen ---------------------------------------------------------------------------------------------
    /** The values of a control, given those before it. */
    function valuesOf(key) {
      const before = KEYS.slice(0, KEYS.indexOf(key)), here = populations.filter((p) => before.every((k) => p[k] === state[k]));
      return once(here.flatMap((p) => (key === "seed" ? p.seeds : [p[key]])));
    }
    /** Take over what there is; where a value is not to be had, the first that is. */
    function choose(change) {
      for (const key of KEYS) {
        const values = valuesOf(key);
        for (const wanted of [values[0], state[key], change[key]]) if (values.includes(wanted)) state[key] = wanted;
      }
    }
    const found = page ? fromAddress(model.get("name")) : {};
    choose(found);
    if (/^\d$/.test(found.at ?? "")) at = Number(found.at);
    const remember = () => page && toAddress(model.get("name"), at === null ? state : { ...state, at });
    const select = (change) => {
      choose(change);
      model.set("selected", { ...state });
      model.save_changes();
      refresh();
      remember();
    };
    /** The chosen model: its population, its values at each snapshot, and the snapshot that is looked at. */
    function chosen() {
      const population = populations.find((p) => ["of", "data", "width"].every((key) => p[key] === state[key]));
      const values = population.values[population.seeds.indexOf(state.seed)].map(([cross, forced, loss, own]) => ({ cross, forced, loss, own }));
      const last = values.length - 1, place = Math.min(at ?? last, last);
      return { ...population, values, place, last, step: population.steps[place], here: values[place] };
    }
    let one = chosen();

    // ---- what is on the page ----------------------------------------------------------------------------------------
    const groups = make("div", { class: "controls", role: "group", "aria-label": "Choose a model" });
    const steps = make("input", {
      type: "range", min: 0, step: 1, "aria-label": "training steps", "data-lm-suppress-shortcuts": "true",
      input: () => ((at = Number(steps.value)), (at === one.last ? (at = null) : 0), refresh(), remember()),
    });
    const stepText = make("span", {}), line = make("div", {}), path = make("div", {});
    const [told, heard] = announced();
    el.classList.add("explorer");
    el.append(groups, make("label", { class: "slide" }, stepText, steps), told, heard, line, path,
      make("p", { class: "legend", text:
        "All in nats a symbol. Cross-entropy: how wrong the model is; forced entropy: how sure it is on the same symbols. " +
        "Own texts: the entropy of what it writes (estimated at the end of training only)." }));

    /** Radio buttons, made anew only when there are others to choose from: the focus stays where it is. */
    const CALLED = { of: "learns from", data: "data", width: "width", seed: "seed" };
    function showGroups() {
      KEYS.forEach((key, i) => {
        const values = valuesOf(key), offered = values.join();
        if (groups.children[i]?.dataset.offered !== offered) {
          const group = choice(CALLED[key], values, state[key], (value) => select({ [key]: value }));
          group.dataset.offered = offered;
          groups.children[i] ? groups.replaceChild(group, groups.children[i]) : groups.append(group);
        }
        groups.children[i].show(state[key]);
      });
    }

    // ---- words ------------------------------------------------------------------------------------------------------
    const nats = (value) => value.toFixed(3);
    const side = (gap, [above, below], none) => (Math.abs(gap) < 0.0005 ? none : `${nats(Math.abs(gap))} ${gap > 0 ? above : below}`);
    function tell() {
      const { source, here: { cross, forced, loss, own }, step, last, place } = one;
      const sure = side(cross - forced, ["surer than it is right", "less sure than it is right"], "as sure as it is right");
      const parts = [`After ${step} steps on ${state.of} (${state.data}), width ${state.width}: on new text its cross-entropy is ` +
        `${nats(cross)} and its forced entropy ${nats(forced)} nats a symbol; it is ${sure} there. On what it learned from it needs ${nats(loss)}.`];
      if (own !== null) parts.push(`Texts of its own have ${nats(own)}.`);
      else if (place < last) parts.push("Of its own texts we know at the end only.");
      const low = own ?? forced, what = own === null ? "Its forced entropy" : "Its entropy";
      if (source !== null) parts.push(`${what} lies ${side(low - source, ["above", "below"], "at")} the source's, ${nats(source)}.`);
      else if (low >= cross) parts.push(`${what} is not below its cross-entropy, and so not below the text's, whatever that is.`);
      else parts.push("The text's own entropy is unknown, and at most the cross-entropy: whether the model lies below it cannot be told.");
      told.tell(parts.join(" "));
    }

    // ---- pictures ---------------------------------------------------------------------------------------------------
    const DASH = { cross: "none", forced: "6 4" };

    /** The entropies as marks on a line, one below the other. */
    function drawLine() {
      const { source, here: { cross, forced, loss, own } } = one, width = within(line.clientWidth || 320, 220, 480), ROW = 34, top = 22;
      const rows = [
        { key: "source", name: source === null ? "the text: unknown, at most here" : "the source, exact", value: source ?? cross },
        { key: "cross", name: "cross-entropy, new text", value: cross },
        { key: "forced", name: "forced entropy, new text", value: forced },
        { key: "loss", name: "cross-entropy, text it learned from", value: loss },
        ...(own === null ? [] : [{ key: "own", name: "entropy of its own texts", value: own }]),
      ];
      const { low, high, ticks } = scaleOf(rows.map(({ value }) => value)), bottom = top + ROW * rows.length;
      const x = (value) => 8 + ((value - low) / (high - low)) * (width - 24);
      const y = (i) => top + ROW * (i + 0.62);
      /** In the middle over its mark, or as near to it as its length, of about 6 pixels a letter, allows. */
      const over = (value, text) => within(x(value), Math.min(3.1 * text.length, width / 2), Math.max(width - 3.1 * text.length, width / 2));
      const named = ({ key, name, value }) => (key === "source" && source === null ? name : `${name} ${nats(value)}`);
      const mark = ({ key, name, value }, i) => [
        words(over(value, named({ name, key, value })), y(i) - 10, named({ name, key, value }), { class: "halo" }),
        key === "source" && source === null
          ? make("rect", { x: 8, y: y(i) - 5, width: Math.max(0, x(cross) - 8), height: 10, class: "unknown", "fill-opacity": 0.25, fill: "currentColor" })
          : key === "source" ? make("path", { d: `M${x(value)} ${y(i) - 6}l6 6l-6 6l-6 -6z`, fill: "currentColor" })
            : make("circle", { cx: x(value), cy: y(i), r: 5, "data-quantity": key, "data-value": value, "stroke-width": 2, stroke: "currentColor",
                fill: key === "forced" || key === "own" ? "var(--paper)" : "currentColor" }),
      ];
      const bound = source === null ? [] : [make("line", { x1: x(source), x2: x(source), y1: top, y2: bottom, stroke: "currentColor", "stroke-dasharray": "2 3" })];
      const gap = make("line", { x1: x(cross), x2: x(forced), y1: y(2), y2: y(2), stroke: "currentColor", "stroke-width": 3, opacity: 0.5, class: "gap" });
      const axis = ticks.flatMap(([value, text]) => [
        make("line", { x1: x(value), x2: x(value), y1: top, y2: bottom, stroke: "currentColor", opacity: 0.15 }),
        words(within(x(value), 14, width - 18), bottom + 14, text),
      ]);
      line.replaceChildren(make("svg", { viewBox: `0 0 ${width} ${bottom + 32}`, width, height: bottom + 32, class: "chart", role: "img",
          "aria-label": `Entropies in nats a symbol: ${rows.map(({ name, value }) => `${name} ${nats(value)}`).join("; ")}.` },
        words(0, 12, `after ${one.step} training steps`, { "text-anchor": "start", "font-weight": "bold" }), ...axis, ...bound, gap, ...rows.flatMap(mark),
        words(width / 2, bottom + 29, "nats a symbol")));
    }

    /** Cross-entropy and forced entropy over training, from the first snapshot after the start. */
    function drawPath() {
      const { steps: all, values, source, place } = one, from = 1, shown = values.slice(from);
      const { ticks } = scaleOf([...shown.flatMap(({ cross, forced }) => [cross, forced]), ...(source === null ? [] : [source])]);
      const frame = { heading: "over training, nats a symbol", ticks, left: 36, right: 60, top: 30, bottom: 170, height: 206,
        label: `Cross-entropy and forced entropy on new text after ${all.slice(from).join(", ")} steps` };
      chart(path, frame, (left, to, y) => {
        const last = Math.log(all.at(-1)), first = Math.log(all[from]), x = (i) => left + 14 + ((Math.log(all[i]) - first) / (last - first)) * (to - left - 28);
        const curve = (key) => make("path", { fill: "none", stroke: "currentColor", "stroke-width": 2, "stroke-dasharray": DASH[key], class: "line", "data-curve": key,
          d: shown.map((v, i) => `${i ? "L" : "M"}${x(i + from).toFixed(1)} ${y(v[key]).toFixed(1)}`).join("") });
        const { cross, forced } = shown.at(-1), apart = Math.abs(y(cross) - y(forced)), push = apart < 13 ? (13 - apart) / 2 : 0, up = cross >= forced ? -1 : 1;
        const name = (text, value, by) => words(to - 10, y(value) + by, text, { "text-anchor": "start", "dominant-baseline": "central" });
        return [
          ...(source === null ? [] : [make("line", { x1: left, x2: to, y1: y(source), y2: y(source), stroke: "currentColor", "stroke-dasharray": "2 3" }),
            words(left + 4, y(source) - 7, "source", { "text-anchor": "start", class: "halo" })]),
          curve("cross"), curve("forced"), name("cross-e.", cross, up * push), name("forced", forced, -up * push),
          ...(place >= from ? [make("line", { class: "cursor", x1: x(place), x2: x(place), y1: 24, y2: 170, stroke: "currentColor", opacity: 0.5 })] : []),
          ...all.slice(from).map((step, i) => words(x(i + from), 186, step)), words((left + to) / 2, 203, "training steps, log scale"),
        ];
      });
    }

    function refresh() {
      one = chosen();
      showGroups();
      steps.max = one.last;
      steps.value = one.place;
      steps.setAttribute("aria-valuetext", `${one.step}, of ${one.steps.at(-1)}`);
      say(stepText, `training steps: ${one.step} of ${one.steps.at(-1)}`);
      tell();
      drawLine();
      drawPath();
    }
    const again = () => (choose({}), refresh());
    return keepUp({ model, el }, state, again);
  },
};
