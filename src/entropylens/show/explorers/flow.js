// A trained model as a graph of paths; edges are as wide as what the reader takes to be important.

export default {
  render({ model, el, page }) {
    const controls = model.get("choices").map(([name, values]) => ({ name, values }));
    const view = model.get("values"), paths = model.get("paths"), layers = model.get("layers"), most = model.get("most");
    // A copy: the bytes of a page need not begin where 32-bit numbers may.
    const values = new Float32Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));
    const edges = controls.at(-1).values, state = { ...model.get("selected") };
    const [CUT, NORM, WEIGHT] = [0, 1, 2];
    let named = null; // the weight that the reader gives to every residual path; null leaves what was learned

    if (page) {
      const found = fromAddress(model.get("name"));
      for (const { name, values: known } of controls) if (known.includes(found[name])) state[name] = found[name];
      if (/^0\.\d+$/.test(found.named) && Number(found.named) >= 0.02 && Number(found.named) <= 0.98) named = Number(found.named);
    }
    const place = () => controls.slice(0, -1).reduce((sum, { name, values: known }) => sum * known.length + known.indexOf(state[name]), 0);
    const at = (layer, path, measure) => values[((place() * layers + layer) * paths.length + path) * edges.length + measure];
    const dataChosen = () => controls.find(({ name }) => name === "data").values.indexOf(state.data);
    const isHead = (path) => paths[path].startsWith("head");
    const mixing = paths.map((_, i) => i).filter((i) => paths[i] !== "ffn"); // what meets in the first sum

    /** The value of an edge, and its share of the widest one; null where the measure does not speak of the path. */
    function edge(layer, path, measure) {
      let value = at(layer, path, measure);
      if (measure === WEIGHT && named !== null && !Number.isNaN(value)) {
        const kept = at(layer, paths.indexOf("residual"), WEIGHT);
        value = paths[path] === "residual" ? named : (value * (1 - named)) / (1 - kept);
      }
      if (Number.isNaN(value)) return null;
      const whole = measure === CUT ? most[dataChosen()] : measure === WEIGHT ? 1 : Math.max(...paths.map((_, i) => at(layer, i, measure)));
      return { value, share: Math.max(0, value) / whole };
    }

    const select = (change) => {
      Object.assign(state, change);
      model.set("selected", { ...state });
      model.save_changes();
      refresh();
      remember();
    };
    const remember = () => page && toAddress(model.get("name"), named === null ? state : { ...state, named });

    const groups = controls.map(({ name, values: known }) =>
      Object.assign(choice(name, known, state[name], (value) => select({ [name]: value })), { control: name }),
    );
    const slider = make("input", {
      type: "range", min: 0.02, max: 0.98, step: 0.01, "data-lm-suppress-shortcuts": "true",
      input: () => ((named = Number(slider.value)), refresh(), remember()),
    });
    const learned = make("button", { type: "button", text: "as learned", click: () => ((named = null), refresh(), remember()) });
    const told = make("p", { class: "told", "aria-live": "polite" });
    const picture = make("div", {});
    el.classList.add("explorer");
    el.append(
      make("div", { class: "controls", role: "group", "aria-label": "Choose a model, and what its edges show" }, ...groups),
      picture,
      make("div", { class: "slide" }, make("label", { class: "slide" }, make("span", { text: "rename the residual's weight" }), slider), learned),
      told,
    );

    function refresh() {
      groups.forEach((group) => group.show(state[group.control]));
      const measure = edges.indexOf(state.edges), routed = !Number.isNaN(at(0, 0, WEIGHT));
      const layer = [...Array(layers).keys()], residual = paths.indexOf("residual");
      const mean = (f) => layer.reduce((sum, l) => sum + f(l), 0) / layers;
      slider.disabled = learned.disabled = !routed;
      slider.value = named ?? (routed ? mean((l) => at(l, residual, WEIGHT)) : 0.33);
      slider.setAttribute("aria-valuetext", `weight ${Number(slider.value).toFixed(2)}`);
      picture.replaceChildren(draw(measure));
      const cut = `Cutting the residual of a layer costs ${mean((l) => at(l, residual, CUT)).toFixed(2)} nats, on average over layers`;
      if (!routed) return say(told, `${cut}. A standard transformer has no router: there are no weights to show.`);
      const weight = named === null ? `learned a weight of ${mean((l) => at(l, residual, WEIGHT)).toFixed(3)}` : `goes by the name of ${named.toFixed(2)}`;
      const same = named === null ? "" : " Heads and later layers write by as much more or less: it is the same model, and what cutting costs is the same.";
      say(told, `${cut}. Its router ${named === null ? weight : "weight " + weight}.${same}`);
    }

    function draw(measure) {
      const width = 480, step = 92, height = 2 * step * layers + 52, x0 = 250;
      const y = (stage) => height - 26 - step * stage;
      const text = (place, words, size = 12) => make("text", { ...place, "font-size": size, "text-anchor": "middle", fill: "currentColor", text: words });
      const parts = [], labels = [], words = [];
      for (let layer = 0; layer < layers; layer++) {
        parts.push(make("line", { x1: x0, x2: x0, y1: y(2 * layer + 1), y2: y(2 * layer + 2), stroke: "currentColor", "stroke-width": 2, opacity: 0.35 }));
        paths.forEach((name, path) => {
          const stage = 2 * layer + (mixing.includes(path) ? 0 : 1), heads = mixing.filter(isHead).indexOf(path);
          const bulge = isHead(path) ? -78 - 80 * heads : name === "ffn" ? 85 : 0, x = x0 + bulge;
          const found = edge(layer, path, measure), middle = (y(stage) + y(stage + 1)) / 2;
          const line = { d: `M${x0} ${y(stage)}C${x0 + 1.33 * bulge} ${y(stage)} ${x0 + 1.33 * bulge} ${y(stage + 1)} ${x0} ${y(stage + 1)}`, fill: "none", stroke: "currentColor" };
          parts.push(make("path", found
            ? { ...line, class: `edge ${isHead(path) ? "head" : name}`, "stroke-width": Math.max(0.8, 26 * found.share).toFixed(1), opacity: 0.55 }
            : { ...line, "stroke-width": 0.8, "stroke-dasharray": "3 4", opacity: 0.5 }));
          const shown = found ? found.value.toFixed(measure === WEIGHT ? 3 : 2).replace("-", "−") : "–", called = name === "ffn" ? "FFN" : name;
          const side = { x: x + (bulge === 0 ? 0 : Math.sign(bulge) * 2) };
          labels.push(make("text", { ...side, y: middle - 3, class: "halo", "font-size": 12, "text-anchor": "middle", text: called }));
          labels.push(make("text", { ...side, y: middle + 11, class: "halo", "font-size": 12, "text-anchor": "middle", text: shown }));
          words.push(`layer ${layer + 1} ${called} ${shown}`);
        });
        for (const stage of [1, 2]) labels.push(make("circle", { cx: x0, cy: y(2 * layer + stage), r: 4, fill: "currentColor" }));
      }
      parts.push(text({ x: x0, y: height - 8 }, "symbols so far"), text({ x: x0, y: 16 }, "next symbol"));
      return make("svg", { viewBox: `0 0 ${width} ${height}`, class: "flow", role: "img", "aria-label": `Edges show ${edges[measure]}: ${words.join(", ")}.` }, ...parts, ...labels);
    }

    const fromPython = () => (Object.assign(state, model.get("selected")), refresh());
    model.on("change:selected", fromPython);
    refresh();
    return () => model.off("change:selected", fromPython);
  },
};
