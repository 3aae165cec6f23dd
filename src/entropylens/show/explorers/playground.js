// A transformer that is trained in the page, by a Web Worker (playground_worker.js, its code in WORKER); this draws and asks.

const LIVE = ["rate", "beta2", "momentum"], VIEWS = ["axis", "near"];
const NAMES = {
  concentration: "concentration", target: "target's seed", data: "data", n: "sentences", batch: "sentences a step", width: "width d",
  heads: "heads", layers: "layers", variant: "parts", norm: "layer norm", seed: "model's seed", optimizer: "optimiser",
  rate: "learning rate", beta2: "β₂", momentum: "momentum", axis: "steps", near: "zoom",
};
const CALLED = {
  exact: "exact", finite: "a sample", fresh: "fresh", full: "attention, FFN",
  attention_only: "attention only", ffn_only: "FFN only", no_mixing: "FFN, no mixing", pre: "before (pre)", post: "after (post)", none: "none",
  adam: "Adam", rmsprop: "RMSprop", sgd: "SGD", log: "logarithmic", linear: "even", all: "everything", target: "near the target",
};
const inSteps = (speed) => (speed < 10 ? speed.toFixed(1) : `${Math.round(speed)}`);
const quiet = { "data-lm-suppress-shortcuts": "true" }; // JupyterLab would take the keys

/** A drop-down list. */
function picker(key, values, { value, changed }) {
  const options = values.map((each) => make("option", { value: each, text: CALLED[each] ?? each }));
  const select = make("select", { ...quiet, "data-key": key, change: () => changed(values[select.selectedIndex]) }, ...options);
  const label = make("label", {}, make("span", { text: NAMES[key] }), select);
  label.show = () => (select.selectedIndex = values.indexOf(value()));
  return label;
}

/** A seed, typed or stepped. */
function seedField(key, most, { value, changed }) {
  const input = make("input", { type: "number", min: 0, max: most, step: 1, ...quiet, "data-key": key, change: () => {
    const seed = Number(input.value);
    if (input.value !== "" && Number.isInteger(seed) && seed >= 0 && seed <= most) changed(seed);
    else input.value = value();
  } });
  const label = make("label", {}, make("span", { text: NAMES[key] }), input);
  let shown = null; // it is drawn anew while somebody types, which must not undo that
  label.show = () => {
    if (value() !== shown) input.value = shown = value();
  };
  return label;
}

export default {
  render({ model, el, page }) {
    const choices = Object.fromEntries(model.get("choices")), presets = model.get("presets"), mostSeed = model.get("most_seed");
    const decades = model.get("decades"), state = { ...model.get("selected") };
    /** What of some settings is known, of the right type: they may come from an address. */
    function known(found) {
      const right = {};
      for (const key of Object.keys(NAMES)) {
        if (!Object.hasOwn(found, key)) continue;
        const listed = choices[key]?.find((value) => String(value) === String(found[key]));
        if (listed !== undefined) right[key] = listed;
        if (!choices[key] && /^\d{1,3}$/.test(found[key]) && found[key] <= mostSeed) right[key] = Number(found[key]);
      }
      return right;
    }
    if (page) Object.assign(state, known(fromAddress(model.get("name"))));

    // ---- the worker, and what it has told ---------------------------------------------------------------------------
    let run = 1, made = null, rows = [], before = null, marks = [], learned = null, ended = "", going = false, clocks = [], making = 0;
    const address = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" })), worker = new Worker(address);
    const ask = (what, more = {}) => worker.postMessage({ do: what, ...more });
    worker.onerror = (event) => fail(event.message);
    worker.onmessage = ({ data }) => {
      URL.revokeObjectURL(address);
      if (data.failed) return fail(data.failed);
      if (data.speeds) return showSpeeds(data.speeds);
      if ((data.made ?? data.run) !== run) return; // of a model that is gone
      if (data.made) [made, rows, ended] = [data, [], ""];
      const asRow = (row) => Object.fromEntries(["step", "entropy", "kl", "loss", "least", "most", "dead"].map((name, i) => [name, row[i]]));
      for (const row of data.rows.map(asRow)) rows.push({ ...row, share: made.neurons ? row.dead / made.neurons : NaN });
      if (rows.length > MANY) rows = thinned(rows);
      if (data.learned) learned = data.learned;
      if (data.clock) clocks = [...clocks.filter(([, clock]) => data.clock - clock < 2000), [data.step, data.clock]];
      if (data.ended) [ended, going] = [data.ended, false];
      redraw(true);
    };
    function fail(why) {
      going = false;
      say(sign, `The training could not go on (${why || "this browser refuses to start a Web Worker"}).`);
      refresh();
    }

    /** A new model, at once or in a moment, since a slider moves on; the run that it ends is kept for comparison. */
    function renew(why, go) {
      if (rows.length && rows.at(-1).step >= 20) before = { rows, settings: started };
      [rows, marks, made, clocks, ended] = [[], [], null, [], ""];
      run++;
      going = go;
      say(sign, `New model, step 0: ${why}`);
      sign.classList.remove("flash");
      requestAnimationFrame(() => sign.classList.add("flash"));
      clearTimeout(making);
      making = setTimeout(begin, 120);
      refresh();
    }
    let started = null; // the settings of this run
    function begin() {
      clearTimeout(making);
      making = 0;
      started = { ...state };
      ask("make", { run, settings: started, decades });
      if (going) ask("go");
    }
    const order = (what) => (making && begin(), ask(what));

    // ---- what a reader does -----------------------------------------------------------------------------------------
    const inWords = (key, value) => CALLED[value] ?? value;
    const changes = (from, to) => Object.keys(NAMES).filter((key) => !VIEWS.includes(key) && from[key] !== to[key] && isUsed(key, to))
      .map((key) => `${NAMES[key]} ${inWords(key, to[key])}`).join(", ");
    function remember() {
      model.set("selected", { ...state });
      model.save_changes();
      if (page) toAddress(model.get("name"), state);
    }
    /** Take over changed settings: most need a new model. */
    function choose(change) {
      const old = { ...state }, keys = Object.keys(change).filter((key) => change[key] !== old[key]);
      Object.assign(state, change);
      remember();
      if (keys.some((key) => ![...LIVE, ...VIEWS].includes(key))) renew(`${changes(old, state)}.`, going);
      else if (keys.some((key) => LIVE.includes(key))) tune(changes(old, state));
      refresh();
    }
    function tune(what) {
      const step = rows.at(-1)?.step ?? 0;
      if (step > 0 && marks.at(-1) !== step) marks.push(step);
      if (!making) ask("tune", { settings: { ...state } });
      say(sign, `From step ${thousands(step)} on: ${what}. The model stays.`);
    }
    function press(preset) {
      Object.assign(state, preset.settings);
      remember();
      renew(`${preset.name}.`, true);
    }
    function startOrPause() {
      going = !going && !ended;
      order(going ? "go" : "pause");
      if (!going) clocks = [];
      refresh();
    }
    function step() {
      going = false;
      clocks = [];
      order("step");
      refresh();
    }
    function measureSpeed() {
      going = false;
      say(speeds, "measuring, for three seconds …");
      bench.disabled = true;
      order("pause");
      ask("bench");
      refresh();
    }
    function showSpeeds(found) {
      bench.disabled = false;
      say(speeds, `Here: ${found.map(([d, speed]) => `${inSteps(speed)} steps/s at d = ${d}`).join(", ")} (exact data, two layers, Adam).`);
    }
    async function copyLink() {
      toAddress(model.get("name"), state);
      try {
        await navigator.clipboard.writeText(location.href);
        say(copied, "copied");
      } catch { // no permission, or an old browser: at least show it
        copied.replaceChildren(make("input", { type: "text", readonly: "", value: location.href, "aria-label": "link to these settings", ...quiet }));
        copied.firstChild.select();
      }
    }

    // ---- what is on the page ----------------------------------------------------------------------------------------
    const button = (text, click, more = {}) => make("button", { type: "button", text, click, ...quiet, ...more });
    const go = button("▶ Start", startOrPause, { class: "go" }), bench = button("Measure the speed here", measureSpeed);
    const count = make("b", { class: "count" }), pace = make("span", { class: "pace" }), copied = make("span", { role: "status" });
    const speeds = make("span", { role: "status" }), sign = make("p", { class: "sign", role: "status" }), aim = make("p", { class: "aim" });
    const told = make("p", { class: "told", "aria-hidden": "true" }), heard = make("p", { class: "heard", "aria-live": "polite" });
    const aimed = make("output", {}), size = make("output", {});
    const field = (key) => ({ value: () => state[key], changed: (value) => choose({ [key]: value }) });
    const pick = (key) => picker(key, choices[key], field(key)), seed = (key) => seedField(key, mostSeed, field(key));
    const slide = (key) => {
      const values = choices[key], { changed } = field(key), end = values.length - 1;
      const made = slider([0, end, end], {
        name: NAMES[key], value: () => values.indexOf(state[key]), shown: () => String(state[key]), changed: (i) => changed(values[Math.round(i)]), hidden: () => !isUsed(key, state),
      });
      made.querySelector("input").dataset.key = key;
      return made;
    };
    /** Whether a setting matters beside the others. */
    function isUsed(key, { data, optimizer, variant }) {
      const needs = { n: data === "finite", batch: data === "fresh", beta2: optimizer !== "sgd", momentum: optimizer !== "adam", heads: ["full", "attention_only"].includes(variant) };
      return needs[key] ?? true;
    }
    const heads = pick("heads");
    const fields = [
      ["Target and data", slide("concentration"), seed("target"), aimed, pick("data"), slide("n"), slide("batch")],
      ["Model", pick("width"), heads, pick("layers"), pick("variant"), pick("norm"), seed("seed"), size],
      ["Optimiser", pick("optimizer"), make("small", { text: "These may change while it trains:" }), slide("rate"), slide("beta2"), slide("momentum")],
    ];
    const groups = fields.map(([text, ...inside]) => make("fieldset", {}, make("legend", { text }), ...inside));
    const settings = make("details", { open: "" }, make("summary", {}, make("b", { text: "Settings" }), " (a change starts a new model)"), make("div", { class: "settings" }, ...groups));
    const controls = fields.flat().filter((each) => each.show);
    const views = ["axis", "near"].map((key) => Object.assign(choice(NAMES[key], choices[key], state[key], (value) => choose({ [key]: value }), CALLED), { key }));
    const cases = presets.map(([name, look, settings]) => ({ name, look, settings, button: button(name, () => press({ name, settings }), { "aria-pressed": "false" }) }));
    const panels = Object.fromEntries(["entropy", "kl", "loss", "dead"].map((name) => [name, make("div", { "data-panel": name })]));
    const canvas = make("canvas", { role: "img" }), legend = make("p", { class: "legend" });
    const ghost = make("input", { type: "checkbox", ...quiet, change: () => redraw() }), past = make("span", {});
    const ghostLabel = make("label", { class: "past" }, ghost, past);
    ghost.checked = true;
    el.classList.add("explorer", "playground");
    el.append(
      make("div", { class: "bar", role: "group", "aria-label": "Train" }, go, button("Step", step), button("Reset", () => renew("the same settings.", false)), count, pace),
      make("div", { class: "cases", role: "group", "aria-label": "Presets" }, make("b", { text: "Try" }), ...cases.map((each) => each.button)), aim, sign,
      make("div", { class: "bench" },
        settings,
        make("div", { class: "shown" },
          make("div", { class: "panels" }, ...Object.values(panels), make("div", {}, make("b", { text: "learned against true" }), canvas, legend),
            make("div", { class: "beside" }, told, heard, ...views, ghostLabel)))),
      make("div", { class: "steer" }, ...(page ? [button("Copy link", copyLink), copied] : []), bench, speeds),
    );

    // ---- words ------------------------------------------------------------------------------------------------------
    function reading() {
      if (!rows.length) return "A new model is made.";
      const { step: at, entropy, kl, loss, dead } = rows.at(-1), gap = entropy - made.targetEntropy;
      if (ended === "diverged") return `It diverged at step ${thousands(at)}: the loss has left all bounds. Take a lower learning rate, and reset.`;
      const where = Math.abs(gap) < 0.005 ? "at its target's" : `${Math.abs(gap).toFixed(2)} ${gap < 0 ? "below" : "above"} its target's`;
      const sample = made.seenEntropy === null ? "" : `; the sample's own is ${made.seenEntropy.toFixed(2)}`;
      const neurons = made.neurons ? ` ${dead} of ${made.neurons} neurons are dead.` : "";
      const rest = ended === "enough" ? " That is as long as the playground trains." : "";
      return `Step ${thousands(at)}. The model's entropy is ${entropy.toFixed(2)} nats, ${where} ${made.targetEntropy.toFixed(2)}${sample}. KL from the target ${kl.toFixed(3)} nats, loss ${loss.toFixed(2)}.${neurons}${rest}`;
    }
    let toldAt = -Infinity, heardAt = -Infinity;
    function tell() {
      const now = performance.now();
      if (going && now - toldAt < 1000) return;
      toldAt = now;
      say(told, reading());
      if (going && now - heardAt < 5000) return; // whoever listens has other things to hear, too
      heardAt = now;
      say(heard, reading());
    }

    // ---- pictures, at most one of each a frame ----------------------------------------------------------------------
    let asked = 0, drawn = -Infinity;
    const calm = matchMedia("(prefers-reduced-motion: reduce)");
    function redraw(news = false) {
      if (asked || (news && going && calm.matches && performance.now() - drawn < 1000)) return;
      asked = requestAnimationFrame(() => ((asked = 0), draw()));
    }
    function draw() {
      drawn = performance.now();
      say(go, going ? "❚❚ Pause" : rows.length > 1 ? "▶ Go on" : "▶ Start");
      go.disabled = ended !== "";
      say(count, `step ${thousands(rows.at(-1)?.step ?? 0)}`);
      const [[a, from] = [], [b, to] = []] = [clocks[0], clocks.at(-1)];
      say(pace, to > from ? `${inSteps((1000 * (b - a)) / (to - from))} steps/s` : "");
      tell();
      if (!made || !rows.length) return;
      say(aimed, `its entropy: ${made.targetEntropy.toFixed(2)} of at most ${(5 * Math.log(5)).toFixed(2)} nats`);
      say(size, `${thousands(made.parameters)} parameters`);
      const shadow = ghost.checked && before ? before.rows : null;
      for (const [name, curve] of Object.entries(curvesOf({ ...made, rows, before: shadow, near: state.near === "target" }))) {
        const label = `${curve.heading}, against the step, up to step ${rows.at(-1).step}${curve.lines ? `; ${curve.lines.map(([, text]) => text).join(", ")}` : ""}.`;
        drawCurve(panels[name], { name, label, rows, before: shadow, marks, axis: state.axis, ...curve });
      }
      scatter(canvas, el, { ...made, learned, decades });
      canvas.setAttribute("aria-label", `Scatter of all ${made.truth.length} sentences, learned against true probability, both logarithmic, at step ${rows.at(-1).step}.`);
      say(legend, made.seen ? "● in the sample   ○ never seen   dashed: learned = true" : "● each sentence   dashed: learned = true");
    }
    function refresh() {
      controls.forEach((each) => each.show());
      views.forEach((group) => group.show(state[group.key]));
      heads.hidden = !isUsed("heads", state);
      const same = (settings) => Object.keys(settings).every((key) => !isUsed(key, settings) || settings[key] === state[key]), one = cases.find(({ settings }) => same(settings));
      for (const each of cases) each.button.setAttribute("aria-pressed", String(each === one));
      say(aim, one ? one.look : "Your own settings. Press a button to load others, with what to look for.");
      ghostLabel.hidden = !before;
      if (before) say(past, `the run before, thin and dashed (${changes(state, before.settings) || "the same settings"})`);
      redraw();
    }

    /** Python has set what is selected. */
    function fromPython() {
      const change = model.get("selected"), keys = Object.keys(change).filter((key) => change[key] !== state[key]);
      if (keys.length) choose(Object.fromEntries(keys.map((key) => [key, change[key]])));
    }
    model.on("change:selected", fromPython);
    settings.open = !(el.clientWidth && el.clientWidth <= 520); // on a phone the pictures come first; JupyterLab tells no width yet
    begin();
    const stop = keepDrawn(el, refresh);
    return () => (model.off("change:selected", fromPython), stop(), worker.terminate(), clearTimeout(making));
  },
};
