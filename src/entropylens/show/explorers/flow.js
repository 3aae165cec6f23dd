// A trained model as a graph of paths; edges are as wide as what the reader takes to be important.

export default {
  render({ model, el, page }) {
    const controls = model.get("choices").map(([name, values]) => ({ name, values }));
    const values = new Float32Array(bytesOf(model, "values")), paths = model.get("paths"), layers = model.get("layers");
    const measures = controls.at(-1).values, widest = model.get("widest"), state = { ...model.get("selected") };
    const [COST, LENGTH, WEIGHT] = [0, 1, 2], RESIDUAL = paths.indexOf("residual");
    const LEGEND = [
      "Numbers: by how many nats a sentence the divergence from the target grows when the path is cut by its mean. " +
        "Widths: on one scale for each kind of data.",
      "Numbers: mean length of what the path adds. Widths: relative to the longest of the same layer.",
      "Numbers and widths: the router's weights, which sum to 1 in each layer; the FFN has none.",
    ];
    let named = null; // the weight that the reader gives to every residual path; null leaves what was learned

    if (page) {
      const found = fromAddress(model.get("name"));
      for (const { name, values: known } of controls) if (known.includes(found[name])) state[name] = found[name];
      if (/^0\.\d+$/.test(found.named) && found.named >= 0.02 && found.named <= 0.98) named = Number(found.named);
    }
    const indexOf = ({ name, values: known }) => known.indexOf(state[name]);
    const place = () => controls.slice(0, -1).reduce((sum, c) => sum * c.values.length + indexOf(c), 0);
    const at = (layer, path, measure) =>
      values[((place() * layers + layer) * paths.length + path) * measures.length + measure];
    const hasRouter = () => !Number.isNaN(at(0, RESIDUAL, WEIGHT));
    const renamed = () => named !== null && hasRouter();
    const mean = (f) => [...Array(layers).keys()].reduce((sum, layer) => sum + f(layer), 0) / layers;

    /** What an edge shows, under the names that the reader gave; NaN where the measure does not speak of the path. */
    function shown(layer, path, measure) {
      const value = at(layer, path, measure), kept = at(layer, RESIDUAL, WEIGHT);
      if (!renamed() || measure === COST) return value;
      if (measure === WEIGHT) return path === RESIDUAL ? named : (value * (1 - named)) / (1 - kept);
      let stream = 1; // how many times as long everything is from this layer on
      for (let below = 0; below <= layer; below++) stream *= named / at(below, RESIDUAL, WEIGHT);
      return value * stream;
    }
    /** The width of an edge, between 0 and 1. */
    function share(layer, path, measure) {
      const longest = Math.max(...paths.map((_, other) => at(layer, other, LENGTH)));
      const whole = [widest[indexOf(controls.find(({ name }) => name === "data"))], longest, 1][measure];
      const value = measure === LENGTH ? at(layer, path, LENGTH) : shown(layer, path, measure);
      return Math.min(1, Math.max(0, value / whole));
    }

    const select = (change) => {
      Object.assign(state, change);
      model.set("selected", { ...state });
      model.save_changes();
      refresh();
      remember();
    };
    const rename = (weight) => {
      named = weight;
      refresh();
      remember();
    };
    const remember = () => page && toAddress(model.get("name"), named === null ? state : { ...state, named });

    const groups = controls.map(({ name, values: known }) =>
      Object.assign(choice(name, known, state[name], (value) => select({ [name]: value })), { control: name }),
    );
    const quiet = { "data-lm-suppress-shortcuts": "true" };
    const input = () => rename(Number(slider.value));
    const slider = make("input", { type: "range", min: 0.02, max: 0.98, step: 0.01, input, ...quiet });
    const learned = make("button", { type: "button", text: "as learned", click: () => rename(null), ...quiet });
    const told = make("p", { class: "told", "aria-live": "polite" });
    const legend = make("p", { class: "legend" });
    const picture = make("div", {});
    el.classList.add("explorer");
    el.append(
      make("div", { class: "controls", role: "group", "aria-label": "Choose a model, and what its edges show" }, ...groups),
      picture,
      legend,
      make("label", { class: "slide" }, make("span", { text: "rename the residual's weight" }), slider),
      learned,
      told,
    );

    function refresh() {
      const measure = measures.indexOf(state.edges), weight = mean((layer) => at(layer, RESIDUAL, WEIGHT));
      groups.forEach((group) => group.show(state[group.control]));
      slider.disabled = learned.disabled = !hasRouter();
      slider.value = hasRouter() ? named ?? weight : 0.33;
      slider.setAttribute("aria-valuetext", `weight ${Number(slider.value).toFixed(2)}`);
      picture.replaceChildren(draw(measure));
      say(legend, LEGEND[measure]);
      const cost = mean((layer) => at(layer, RESIDUAL, COST)).toFixed(2);
      say(told, `Cutting the residual of a layer costs ${cost} nats, on average over layers. ${aboutWeights(weight)}`);
    }
    function aboutWeights(weight) {
      if (!hasRouter()) return "A standard transformer has no router: there are no weights to show.";
      if (!renamed()) return `Its router learned a weight of ${weight.toFixed(3)}.`;
      return `Its router's weight goes by the name of ${named.toFixed(2)}: whatever is written to the stream is so much ` +
        "longer or shorter that the model is the same, and so is what cutting costs.";
    }

    // ---- the picture -------------------------------------------------------------------------------------------------

    const WIDTH = 480, STEP = 96, HEIGHT = 2 * STEP * layers + 56, X = 260, SIZE = 15;
    const heads = paths.filter((path) => path.startsWith("head"));
    const y = (stage) => HEIGHT - 28 - STEP * stage;
    const kind = (path) => (path.startsWith("head") ? "head" : path);
    const bulge = (path) => ({ residual: 0, ffn: 95, head: -88 - 92 * heads.indexOf(path) })[kind(path)];

    const words = (x, at, text, attributes = {}) =>
      make("text", { x, y: at, "font-size": SIZE, "text-anchor": "middle", fill: "currentColor", text, ...attributes });

    /** From one sum to the next, bulging to the side: its path on the canvas, and the words on it. */
    function edge(layer, index, measure) {
      const path = paths[index], stage = 2 * layer + (path === "ffn" ? 1 : 0), side = X + (4 / 3) * bulge(path);
      const value = shown(layer, index, measure), none = Number.isNaN(value), middle = (y(stage) + y(stage + 1)) / 2;
      const d = `M${X} ${y(stage)}C${side} ${y(stage)} ${side} ${y(stage + 1)} ${X} ${y(stage + 1)}`;
      const style = none
        ? { "stroke-width": 0.8, "stroke-dasharray": "3 4" }
        : { class: `edge ${kind(path)}`, "stroke-width": Math.max(0.8, 26 * share(layer, index, measure)).toFixed(1) };
      const name = path === "ffn" ? "FFN" : path;
      const number = none ? "–" : value.toFixed(measure === WEIGHT ? 3 : 2).replace("-", "−");
      const label = (text, line) => words(X + bulge(path), middle + line, text, { class: "halo" });
      return {
        line: make("path", { d, fill: "none", stroke: "currentColor", opacity: 0.6, ...style }),
        labels: [label(name, -3), label(number, 14)],
        told: `layer ${layer + 1} ${name} ${number}`,
      };
    }
    function draw(measure) {
      const stages = [...Array(layers).keys()];
      const edges = stages.flatMap((layer) => paths.map((_, index) => edge(layer, index, measure)));
      const past = { x1: X, x2: X, stroke: "currentColor", "stroke-width": 2, opacity: 0.35 };
      const label = `Edges show ${measures[measure]}: ${edges.map((each) => each.told).join(", ")}.`;
      return make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "flow", role: "img", "aria-label": label },
        ...stages.map((layer) => make("line", { ...past, y1: y(2 * layer + 1), y2: y(2 * layer + 2) })),
        ...edges.map((each) => each.line),
        ...edges.flatMap((each) => each.labels),
        ...[...Array(2 * layers).keys()].map((stage) => make("circle", { cx: X, cy: y(stage + 1), r: 4, fill: "currentColor" })),
        words(X, HEIGHT - 8, "symbols so far"),
        words(X, 16, "next symbol"),
      );
    }

    const fromPython = () => (Object.assign(state, model.get("selected")), refresh());
    model.on("change:selected", fromPython);
    refresh();
    return () => model.off("change:selected", fromPython);
  },
};
