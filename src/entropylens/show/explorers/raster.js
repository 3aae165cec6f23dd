// A training neuron by neuron: how often each fires over the steps, under the loss; which die, and which come back.

const LEFT = 40, RIGHT = 18, HEADING = 20, LOSS = { top: 34, bottom: 144 }, TALL = 1; // nats that are shown above the lowest loss

export default {
  render({ model, el, page }) {
    const trainings = model.get("trainings"), models = model.get("models"), layers = model.get("layers"), kinds = model.get("kinds");
    const all = model.get("steps"), every = model.get("every"), shades = model.get("shades"), contexts = model.get("contexts");
    const names = trainings.map(([name]) => name), called = Object.fromEntries(trainings), neurons = layers.reduce((a, b) => a + b);
    const columns = Math.ceil(all / every), bytes = new Uint8Array(bytesOf(model, "levels")), wide = Math.ceil(columns / 2);
    const state = { ...model.get("selected") };
    if (page) {
      const found = fromAddress(model.get("name")), whole = (text, low, high) => /^\d{1,6}$/.test(text) && text >= low && text <= high;
      if (names.includes(found.training)) state.training = found.training;
      if (whole(found.step, 0, all - 1)) state.step = every * Math.floor(found.step / every);
      if (whole(found.row, 1, neurons)) state.row = Number(found.row);
    }
    const select = selector({ model, page }, state, refresh);
    const at = () => state.step / every; // the column under the cursor

    // ---- what is chosen ---------------------------------------------------------------------------------------------
    /** The chosen training: its facts, the levels of its rows, and how many of each layer are dead in each column it reached. */
    function chosen() {
      const number = names.indexOf(state.training), one = models[number], reached = one.loss.length;
      const rows = Array.from({ length: neurons }, (_, row) => Array.from({ length: columns }, (_, column) => {
        const both = bytes[(number * neurons + row) * wide + (column >> 1)];
        return column % 2 ? both >> 4 : both & 15;
      }));
      const first = layers.map((_, i) => layers.slice(0, i).reduce((a, b) => a + b, 0));
      const dead = layers.map((size, i) => Array.from({ length: reached }, (_, column) =>
        rows.slice(first[i], first[i] + size).filter((levels) => !levels[column]).length));
      const deaths = Array.from({ length: reached }, (_, column) => dead.reduce((sum, counts) => sum + counts[column], 0));
      const layerOf = (row) => first.findLastIndex((start) => row >= start);
      return { ...one, rows, first, reached, dead, deaths, layerOf };
    }
    let one = chosen();

    // ---- words ------------------------------------------------------------------------------------------------------
    const counted = (n, kind) => countedEvents(n, kind, kinds), times = (n, what) => `${n} ${what}${n === 1 ? "" : "s"}`;
    /** Columns at which a row, alive in the one before, is dead; and whether it ever fires afterwards. */
    function fates(levels, from) {
      const dies = levels.slice(0, one.reached).findIndex((level, i) => i > from && !level && levels[i - 1]);
      return { dies: dies >= 0, back: dies >= 0 && levels.slice(dies, one.reached).some(Boolean) };
    }
    function tell() {
      const many = kinds.map((_, kind) => one.events.filter(([k]) => k === kind).length), lives = one.rows.map((levels) => fates(levels, 100 / every));
      const died = lives.filter(({ dies }) => dies).length, back = lives.filter((life) => life.back).length;
      const collapses = many[2] ? `, and ${counted(many[2], 2)}` : "", gone = one.diverged === null ? "" : ` It diverged at step ${one.diverged}.`;
      const returned = !died ? "None was seen to die after step 100." : `${died} ${died === 1 ? "was" : "were"} seen to die after step 100, and ${back} of them to fire again.`;
      const dead = ` Of ${neurons} neurons ${one.most} ${one.most === 1 ? "is" : "are"} dead at most after step 100, ${one.end} at the end. ${returned}`;
      say(told, `${called[state.training]}: ${counted(many[0], 0)}, ${counted(many[1], 1)}${collapses}.${(one.diverged ?? all) > 100 ? dead : ""}${gone}`);
    }
    function underCursor() {
      const column = at(), begin = beginning(one.events.filter(([, onset]) => Math.floor(onset / every) === column), kinds);
      if (column >= one.reached) return `step ${state.step}: it has diverged${begin}`;
      const each = layers.map((_, i) => `${one.dead[i][column]} in layer ${i + 1}`).join(", ");
      return `step ${state.step}: loss ${one.loss[column].toFixed(2)} nats, ${one.deaths[column]} of ${neurons} neurons dead (${each})${begin}`;
    }
    /** Which neuron a row is, and what it does under the cursor, and in all. */
    const who = (row) => `layer ${one.layerOf(row) + 1}, neuron ${one.order[row] + 1}`;
    function ofRow() {
      const levels = one.rows[state.row - 1].slice(0, one.reached), level = levels[at()], blank = levels.filter((x) => !x).length;
      const share = (x) => Math.round((100 * x) / shades), last = levels.findLastIndex((x) => x > 0) + 1;
      const now = at() >= one.reached ? "" : level ? `fires on ${share(level - 1)} to ${share(level)}\u00a0% of inputs; ` : "dead here; ";
      const whole = last < levels.length ? `from step ${last * every} on to the end` : `the last time at step ${levels.lastIndexOf(0) * every}`;
      return `${who(state.row - 1)}: ${now}${blank ? `dead in ${blank} of ${times(levels.length, "column")}, ${whole}` : `never dead in ${times(levels.length, "column")}`}`;
    }

    // ---- what is on the page ----------------------------------------------------------------------------------------
    const quiet = { "data-lm-suppress-shortcuts": "true" };
    const group = choice("training", names, state.training, (training) => select({ training }), called);
    const step = slider([0, columns - 1, columns - 1], {
      name: "training step", value: at, shown: () => `${state.step} of ${all}`, said: underCursor, changed: (column) => select({ step: column * every }),
    });
    const neuron = slider([1, neurons, neurons - 1], {
      name: "row", value: () => state.row, shown: () => `${state.row} of ${neurons}`, said: ofRow, changed: (row) => select({ row }),
    });
    const told = make("p", { class: "told", "aria-live": "polite" });
    const canvas = make("canvas", { "aria-hidden": "true" }), picture = make("svg", { role: "img" });
    const moment = make("output", { "aria-live": "polite" }), own = make("output", { "aria-live": "polite" });
    const button = (text, way) => make("button", { type: "button", text, click: () => toEvent(way), ...quiet });
    let nothing = { words: "", step: null }; // said in front where there is no further event, until the cursor moves on
    el.classList.add("explorer", "raster");
    el.append(
      make("div", { class: "controls", role: "group", "aria-label": "Choose a training" }, group), told,
      make("div", { role: "group", "aria-label": "Move through the picture" }, step, neuron),
      make("p", { class: "steer" }, button("◂ previous event", -1), button("next event ▸", 1), moment),
      make("p", { class: "own" }, own), make("div", { class: "sheet" }, canvas, picture),
      make("p", { class: "legend" },
        `Each row is a neuron, each column ${times(every, "step")}, and its shade that of the first. Blank: dead, it fires in none of the ${contexts} contexts. The fuller the shade, the more ` +
        "inputs it fires on, from none ", make("span", { class: "scale full" }), " to all. From the top: those that are dead to the end, in the order in which they died; those that were dead " +
        "for a time; those that never were, who fire most at the bottom. ▲ dashed: a spike begins   ▼ dotted: a jump in deaths begins   ✕ solid: a rise of the loss that does not come back begins (a collapse). Of each column the " +
        `highest loss is drawn, at the edge where it is more than ${TALL} nat above the lowest.`),
    );

    // ---- the cursor -------------------------------------------------------------------------------------------------
    function toEvent(way) {
      const places = one.events.map(([, onset]) => Math.floor(onset / every)).sort((a, b) => way * (a - b));
      const next = places.find((column) => way * (column - at()) > 0);
      const to = (next ?? at()) * every;
      nothing = { words: next === undefined ? `no ${way > 0 ? "later" : "earlier"} event; ` : "", step: to };
      select({ step: to });
    }
    for (const kind of ["pointermove", "pointerdown"])
      picture.addEventListener(kind, (event) => {
        if (kind === "pointermove" && !event.buttons) return; // hovering would take the cursor away from the keyboard
        const box = picture.getBoundingClientRect(), scale = frame.width / box.width, y = (event.clientY - box.top) * scale;
        const column = within(Math.floor(((((event.clientX - box.left) * scale - LEFT) / frame.inner) * columns)), 0, columns - 1);
        const block = frame.blocks.findIndex(({ top, bottom }) => y >= top && y < bottom);
        const row = block < 0 ? state.row : one.first[block] + Math.floor((y - frame.blocks[block].top) / frame.tall) + 1;
        if (column !== at() || row !== state.row) select({ step: column * every, row });
      });

    // ---- the picture ------------------------------------------------------------------------------------------------
    let frame = null; // from columns and rows to places in the picture
    function layOut() {
      const width = within(el.clientWidth - 26 || 400, 260, 760), inner = width - LEFT - RIGHT, tall = Math.max(1, Math.round(256 / neurons));
      const blocks = layers.reduce((found, size) => {
        const top = (found.at(-1)?.bottom ?? LOSS.bottom + 8) + HEADING;
        return [...found, { top, bottom: top + size * tall }];
      }, []);
      const top = blocks.at(-1).bottom + 8 + HEADING;
      frame = { width, inner, tall, blocks, dead: { top, bottom: top + 66 }, height: top + 104, x: (column) => LEFT + ((column + 0.5) / columns) * inner };
    }
    /** One pixel a column and neuron, stretched; what is dead stays the paper. */
    function paint() {
      const top = frame.blocks[0].top, height = frame.blocks.at(-1).bottom - top, context = sharpContext(canvas, frame.inner, height);
      canvas.style.left = `${LEFT}px`;
      canvas.style.top = `${top}px`;
      context.imageSmoothingEnabled = false;
      frame.blocks.forEach((block, i) => {
        const small = make("canvas", { width: columns, height: layers[i] }), image = new ImageData(columns, layers[i]);
        one.rows.slice(one.first[i], one.first[i] + layers[i]).flat().forEach((level, j) => (image.data[4 * j + 3] = level ? 45 + (210 * level) / shades : 0));
        small.getContext("2d").putImageData(image, 0, 0);
        context.drawImage(small, 0, block.top - top, frame.inner, block.bottom - block.top);
      });
      context.globalCompositeOperation = "source-in"; // what has been drawn so far is opacity only
      context.fillStyle = getComputedStyle(canvas).color;
      context.fillRect(0, 0, frame.inner, height);
    }
    const line = (values, y) => make("path", { class: "line", fill: "none", d: values.map((v, i) => `${i ? "L" : "M"}${frame.x(i).toFixed(1)} ${y(v).toFixed(1)}`).join("") });
    function mark([kind, onset]) {
      const panels = [LOSS, ...frame.blocks, frame.dead].map(({ top, bottom }) => [top, bottom]);
      return markOf(kind, kinds[kind], frame.x(Math.floor(onset / every)), (MARKS[kind].above ? LOSS : frame.dead).top - 8, MARKS[kind].above ? [panels[0], panels.at(-1)] : panels);
    }
    function cursor(loss, deaths) {
      const x = frame.x(at()), block = one.layerOf(state.row - 1), y = frame.blocks[block].top + (state.row - 1 - one.first[block]) * frame.tall;
      const [left, right] = [LEFT - 1, LEFT + frame.inner + 1], middle = y + frame.tall / 2, there = at() < one.reached;
      const dots = there ? [loss(one.loss[at()]), deaths(one.deaths[at()])] : [];
      return make("g", { class: "cursor" },
        make("line", { x1: x, x2: x, y1: LOSS.top - 3, y2: frame.dead.bottom + 3 }), ...dots.map((cy) => make("circle", { cx: x, cy, r: 4 })),
        make("path", { class: "row", fill: "currentColor", d: `M${left} ${middle}l-8-5v10zM${right} ${middle}l8-5v10z` }),
        make("rect", { class: "row", x: left, y: y - 1, width: frame.inner + 2, height: frame.tall + 2, fill: "none", stroke: "currentColor" }));
    }
    function draw() {
      layOut();
      const { width, inner, blocks, dead, height, x } = frame, right = LEFT + inner, start = { "text-anchor": "start" };
      const least = Math.min(...one.loss), span = within(Math.max(...one.loss) - least, 0.5, TALL), most = Math.max(4, ...one.deaths);
      const loss = (nats) => LOSS.bottom - within((nats - least) / span + 0.04, 0, 1.04) * ((LOSS.bottom - LOSS.top) / 1.06);
      const deaths = (count) => dead.bottom - (count / (1.05 * most)) * (dead.bottom - dead.top);
      for (const [name, value] of [["viewBox", `0 0 ${width} ${height}`], ["width", width], ["height", height]]) picture.setAttribute(name, value);
      picture.setAttribute("aria-label", `Loss, the firing of ${neurons} neurons, and the dead among them over ${all} steps of ${called[state.training]}. ${underCursor()}. ${ofRow()}.`);
      const ended = x(one.reached - 0.5);
      picture.replaceChildren(
        ...(one.reached < columns ? [make("rect", { x: ended, y: LOSS.top, width: right - ended, height: dead.bottom - LOSS.top, class: "gone" })] : []),
        ...framed(LOSS, LEFT, right, loss, ticksBetween(least, least + span, 4)), ...framed(dead, LEFT, right, deaths, ticksBetween(0, 1.05 * most, 3)),
        ...blocks.flatMap((block, i) => [...framed(block, LEFT, right, null, []), words(0, block.top - 6, `layer ${i + 1}, ${layers[i]} neurons`, { ...start, class: "halo" })]),
        words(0, 12, "loss, nats", start), words(0, dead.top - 6, `dead neurons, of ${neurons}`, { ...start, class: "halo" }),
        ...one.events.map(mark), line(one.loss, loss), line(one.deaths, deaths),
        ...ticksBetween(0, all, width < 480 ? 3 : 6).map((s) => words(x(s / every - 0.5), dead.bottom + 16, s)),
        words(LEFT + inner / 2, height - 4, "training step"), cursor(loss, deaths),
      );
      paint();
    }

    function refresh() {
      one = chosen();
      group.show(state.training);
      for (const each of [step, neuron]) each.show();
      tell();
      // A slider's value is read out anyway.
      const steering = el.contains(document.activeElement) && document.activeElement.type === "range";
      for (const each of [moment, own]) each.setAttribute("aria-live", steering ? "off" : "polite");
      if (nothing.step !== state.step) nothing = { words: "", step: state.step };
      say(moment, nothing.words + underCursor());
      say(own, `Row ${state.row}: ${ofRow()}`);
      draw();
    }
    return keepUp({ model, el }, state, refresh);
  },
};
