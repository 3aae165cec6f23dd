// One training at a time: its loss and its dead neurons over the steps, where spikes and jumps begin, and a cursor.

const AXES = { "lowest 3 nats": 3, "lowest half nat": 0.5, all: Infinity }; // how far up from the lowest loss

export default {
  render({ model, el, page }) {
    const names = new Map(model.get("names")), populations = model.get("populations"), seeds = model.get("seeds");
    const models = model.get("models"), kinds = model.get("kinds"), [low, high] = model.get("span");
    const view = model.get("points"), bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    const bits = model.get("dead_bits"), DIVERGED = 2 ** (24 - bits) - 1; // see `pack`
    const length = bytes.length / models.length / 3; // points of a trace
    const state = { ...model.get("selected") };
    let axis = Object.keys(AXES)[0], step = 0; // of the cursor

    // ---- what is chosen ---------------------------------------------------------------------------------------------
    const ratesOf = (optimizer) => populations.filter((p) => p.optimizer === optimizer);
    /** Take over what is known, and of an optimizer that lacks the rate the one at the edge. */
    function choose(change) {
      if (names.has(change.optimizer)) state.optimizer = change.optimizer;
      const there = ratesOf(state.optimizer), has = (rate) => there.some((p) => p.rate === rate);
      if (has(change.rate)) state.rate = change.rate;
      if (!has(state.rate)) state.rate = (there.find((p) => p.mark === "edge") ?? there[0]).rate;
      if (seeds.includes(change.seed)) state.seed = change.seed;
    }
    if (page) {
      const found = fromAddress(model.get("name"));
      choose(found);
      if (Object.hasOwn(AXES, found.axis)) axis = found.axis;
      if (/^\d{1,7}$/.test(found.step)) step = Number(found.step);
    }
    const select = (change) => {
      choose(change);
      model.set("selected", { ...state });
      model.save_changes();
      refresh();
      remember();
    };
    const remember = () => page && toAddress(model.get("name"), { ...state, axis, step });

    /** The chosen model: its facts, its population's, and (P) losses and dead neurons up to where it diverged. */
    function chosen() {
      const number = populations.findIndex((p) => p.optimizer === state.optimizer && p.rate === state.rate);
      const place = number * seeds.length + seeds.indexOf(state.seed), loss = [], dead = [];
      for (let i = place * length; i < (place + 1) * length; i++) {
        const point = bytes[3 * i] + 256 * bytes[3 * i + 1] + 65536 * bytes[3 * i + 2], code = point >> bits;
        if (code === DIVERGED) break;
        loss.push(low * (high / low) ** (code / (DIVERGED - 1)));
        dead.push(point & (2 ** bits - 1));
      }
      const population = populations[number], stretch = Math.floor(population.steps / length);
      return { ...population, ...models[place], loss, dead, stretch };
    }
    let one = chosen();
    const at = () => Math.min(length - 1, Math.floor(step / one.stretch)); // the stretch under the cursor
    const eventsIn = (place) => one.events.filter(([, onset]) => Math.floor(onset / one.stretch) === place);

    // ---- what is on the page ----------------------------------------------------------------------------------------
    /** Radio buttons whose labels say more than their values. */
    function group(legend, values, value, changed, words) {
      const made = choice(legend, values, value, changed);
      made.querySelectorAll("span").forEach((span, i) => (span.textContent = words(values[i], i)));
      return made;
    }
    const rateGroups = Object.fromEntries([...names.keys()].map((optimizer) => {
      const there = ratesOf(optimizer), words = (rate, i) => (there[i].mark ? `${rate} (${there[i].mark})` : rate);
      return [optimizer, group("learning rate", there.map((p) => p.rate), state.rate, (rate) => select({ rate }), words)];
    }));
    const optimizers = group("optimizer", [...names.keys()], state.optimizer, (optimizer) => select({ optimizer }), (o) => names.get(o));
    const seed = choice("seed", seeds, state.seed, (value) => select({ seed: value }));
    const axes = choice("loss shown", Object.keys(AXES), axis, (value) => ((axis = value), refresh(), remember()));
    const rates = make("div", {});
    const quiet = { "data-lm-suppress-shortcuts": "true" };
    const told = make("p", { class: "told", "aria-live": "polite" });
    const picture = make("svg", { class: "traces", tabindex: 0, role: "slider", ...quiet });
    const answer = make("output", { "aria-live": "polite" });
    const button = (text, way) => make("button", { type: "button", text, click: () => toEvent(way), ...quiet });
    el.classList.add("explorer", "trainings");
    el.append(
      make("div", { class: "controls", role: "group", "aria-label": "Choose a training" }, optimizers, rates, seed, axes),
      told, picture,
      make("p", { class: "steer" }, button("◂ previous event", -1), button("next event ▸", 1), answer),
      make("p", { class: "legend", text:
        "▲ dashed: a spike of the loss begins   ▼ dotted: a jump in deaths begins   ✕ solid: a rise of the loss that does " +
        "not come back begins (a collapse)   ↑ the loss leaves the picture. Of each stretch of steps the highest loss " +
        "and the most dead neurons are drawn. edge: the largest rate at which trial runs still came to a good end; " +
        "matched: the rate at which optimizers end at about the same loss. Arrow keys move the cursor." }),
    );

    // ---- words ------------------------------------------------------------------------------------------------------
    const counted = (n, kind) => countedEvents(n, kind, kinds);
    const who = () => `${names.get(state.optimizer)} at learning rate ${one.rate}${one.mark && ` (${one.mark})`}, seed ${state.seed}`;
    const steps = (place) => {
      const first = place * one.stretch, last = first + one.stretch - 1;
      return first === last ? `step ${first}` : `steps ${first} to ${last}`;
    };
    function tell() {
      const many = MARKS.map((_, kind) => one.events.filter(([k]) => k === kind).length);
      const collapses = many[2] ? `, and ${counted(many[2], 2)}` : "";
      const share = (n) => `${n} of ${one.neurons} (${((100 * n) / one.neurons).toFixed(n > 0 && n < one.neurons / 100 ? 1 : 0)}\u00a0%)`;
      const dead = one.neurons
        ? `Dead neurons: ${share(one.most)} at most after step 100, ${share(one.end)} ${one.diverged ? "when it diverged" : "at the end"}.`
        : "It has no neurons that could die.";
      const end = one.diverged ? `It diverged: the loss left all bounds in ${steps(one.loss.length)}.`
        : `It ends at a divergence (KL) of ${one.kl === null ? "more than can be told" : `${one.kl < 10 ? one.kl.toPrecision(2) : Math.round(one.kl)} nats`} from its target.`;
      say(told, `${who()}: ${counted(many[0], 0)}, ${counted(many[1], 1)}${collapses}. ${dead} ${end}`);
    }
    function underCursor() {
      const place = at();
      const events = beginning(eventsIn(place), kinds);
      if (place >= one.loss.length) return `${steps(place)}: it has diverged${events}`;
      const dead = one.neurons ? `, ${one.dead[place]} of ${one.neurons} neurons dead` : "";
      return `${steps(place)}: loss ${one.loss[place].toFixed(2)} nats${dead}${events}`;
    }

    // ---- the cursor -------------------------------------------------------------------------------------------------
    let before = { words: "", step: null }; // said in front, until the cursor moves on
    /** Move to a stretch, where `words` are said in front. */
    function move(place, words = "") {
      step = Math.min(length - 1, Math.max(0, place)) * one.stretch;
      before = { words, step };
      point();
    }
    function point() {
      const place = at(), text = underCursor();
      picture.setAttribute("aria-valuenow", place * one.stretch);
      picture.setAttribute("aria-valuetext", text);
      // A slider's value is read out anyway.
      answer.setAttribute("aria-live", document.activeElement === picture ? "off" : "polite");
      if (before.step !== step) before = { words: "", step };
      say(answer, before.words + text);
      const [line, ...dots] = picture.querySelectorAll(".cursor > *"), x = frame.x(place);
      for (const end of ["x1", "x2"]) line.setAttribute(end, x);
      [frame.loss(Math.min(frame.top, one.loss[place])), frame.dead(one.dead[place])].forEach((y, i) => {
        dots[i].setAttribute("cx", x);
        dots[i].setAttribute("cy", place < one.loss.length ? y : -9);
      });
    }
    function toEvent(way) {
      const places = one.events.map(([, onset]) => Math.floor(onset / one.stretch)).sort((a, b) => way * (a - b));
      const next = places.find((place) => way * (place - at()) > 0);
      move(next ?? at(), next === undefined ? `no ${way > 0 ? "later" : "earlier"} event; ` : "");
      remember();
    }
    picture.addEventListener("keydown", (event) => {
      const by = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageDown: -10, PageUp: 10, Home: -length, End: length };
      if (!(event.key in by) || event.altKey || event.ctrlKey || event.metaKey) return;
      event.preventDefault();
      move(at() + by[event.key]);
      remember();
    });
    for (const kind of ["pointermove", "pointerdown"])
      picture.addEventListener(kind, (event) => {
        if (kind === "pointermove" && !event.buttons) return; // hovering would take the cursor away from the keyboard
        const box = picture.getBoundingClientRect();
        move(Math.floor(frame.placeAt(((event.clientX - box.left) / box.width) * frame.width)));
        if (kind === "pointerdown") remember();
      });
    picture.addEventListener("pointerup", remember);

    // ---- the picture ------------------------------------------------------------------------------------------------
    const LEFT = 40, RIGHT = 18, LOSS = { top: 34, bottom: 194 }, DEAD = { top: 240, bottom: 330 }, HEIGHT = 368;
    const start = { "text-anchor": "start" }, pen = { fill: "none", stroke: "currentColor" };
    let frame = null; // from stretches, nats and counts to places in the picture
    function layOut() {
      const width = Math.max(260, Math.min(760, el.clientWidth - 26 || 400)), inner = width - LEFT - RIGHT;
      const losses = one.loss.length ? one.loss : [0], least = Math.min(...losses), reach = Math.max(...losses, least + 0.5) - least;
      const tall = Math.min(1.02 * reach, AXES[axis]), top = least + tall, bottom = least - 0.04 * tall;
      const most = Math.max(4, ...one.dead), scale = (panel, share) => panel.bottom - share * (panel.bottom - panel.top);
      frame = {
        width, top, bottom, most,
        x: (place) => LEFT + ((place + 0.5) / length) * inner,
        placeAt: (x) => ((x - LEFT) / inner) * length,
        loss: (nats) => scale(LOSS, (nats - bottom) / (top - bottom)),
        dead: (count) => scale(DEAD, count / (1.05 * most)),
      };
    }
    const curve = (values, y) => make("path", { ...pen, class: "line", d: values.map((v, i) => `${i ? "L" : "M"}${frame.x(i).toFixed(1)} ${y(v).toFixed(1)}`).join("") });
    const axisOf = (panel, y, ticks) => framed(panel, LEFT, frame.width - RIGHT, y, ticks);
    function eventMark([kind, onset]) {
      const lines = MARKS[kind].above ? [[LOSS.top, DEAD.bottom]] : [[DEAD.top, DEAD.bottom], [LOSS.top, LOSS.bottom]];
      return markOf(kind, kinds[kind], frame.x(Math.floor(onset / one.stretch)), (MARKS[kind].above ? LOSS : DEAD).top - 8, lines);
    }
    /** Where the loss leaves the picture: an arrow at the highest point of each way out. */
    function leaving() {
      const found = [];
      for (let i = 0; i < one.loss.length; i++) {
        if (one.loss[i] <= frame.top) continue;
        let best = i;
        for (; i < one.loss.length && one.loss[i] > frame.top; i++) if (one.loss[i] > one.loss[best]) best = i;
        found.push(make("path", { ...pen, class: "leaves", d: `M${frame.x(best)} ${LOSS.top + 12}v-10m-4 4l4-4l4 4`, "stroke-width": 1.5 }));
      }
      return found;
    }
    function diverged() {
      const { length: end } = one.loss;
      if (end === length) return [];
      const x = frame.x(end), late = end > length / 2, y = LOSS.bottom - 12;
      return [
        make("rect", { x, y: LOSS.top, width: frame.width - RIGHT - x, height: DEAD.bottom - LOSS.top, class: "gone" }),
        words(late ? x - 6 : x + 6, y, "diverged", { "text-anchor": late ? "end" : "start", "font-weight": "bold", class: "halo" }),
      ];
    }
    function draw() {
      layOut();
      const { width, bottom, top, most } = frame;
      const clipped = (value) => frame.loss(Math.min(value, top));
      const stepTicks = ticksBetween(0, one.steps, width < 480 ? 3 : 6), xOf = (s) => frame.x(s / one.stretch - 0.5);
      picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
      for (const [name, value] of [["width", width], ["height", HEIGHT], ["aria-valuemin", 0], ["aria-valuemax", (length - 1) * one.stretch]])
        picture.setAttribute(name, value);
      picture.setAttribute("aria-label", `Training step; cursor in the picture of loss and dead neurons over the steps of ${who()}`);
      picture.replaceChildren(
        ...diverged().slice(0, 1),
        ...axisOf(LOSS, frame.loss, ticksBetween(bottom, top, 4)),
        ...axisOf(DEAD, frame.dead, ticksBetween(0, 1.05 * most, 3)),
        words(0, 12, "loss, nats", start), words(0, LOSS.bottom + 18, one.neurons ? `dead neurons, of ${one.neurons}` : "no neurons", { ...start, class: "halo" }),
        ...one.events.map(eventMark),
        curve(one.loss, clipped), curve(one.dead, frame.dead),
        ...leaving(), ...diverged().slice(1),
        ...stepTicks.map((s) => words(xOf(s), DEAD.bottom + 16, s)),
        words(LEFT + (width - LEFT - RIGHT) / 2, HEIGHT - 4, "training step"),
        make("g", { class: "cursor" }, make("line", { y1: LOSS.top - 3, y2: DEAD.bottom + 3 }), make("circle", { r: 4 }), make("circle", { r: 4 })),
      );
      point();
    }

    function refresh() {
      one = chosen();
      optimizers.show(state.optimizer);
      seed.show(state.seed);
      axes.show(axis);
      if (rates.firstChild !== rateGroups[state.optimizer]) rates.replaceChildren(rateGroups[state.optimizer]);
      rateGroups[state.optimizer].show(state.rate);
      tell();
      draw();
    }
    const fromPython = () => (Object.assign(state, model.get("selected")), refresh());
    model.on("change:selected", fromPython);
    const stop = keepDrawn(el, refresh);
    return () => (model.off("change:selected", fromPython), stop());
  },
};
