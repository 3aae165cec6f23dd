// One trained model, one story about it, and the story's parameter under the reader's hand.

export default {
  render({ model, el, page }) {
    const controls = model.get("choices").map(([name, values, words]) => ({ name, values, words }));
    const curves = new Float32Array(bytesOf(model, "curves")), points = model.get("points");
    const ranges = model.get("ranges"), whole = model.get("whole");
    const stories = controls.at(-1).values.length, state = { ...model.get("selected") };
    let at = null; // the slider's place; null until the reader or the address chose one

    if (page) {
      const found = fromAddress(model.get("name"));
      for (const { name, values } of controls) if (values.includes(found[name])) state[name] = found[name];
      if (/^\d+$/.test(found.at) && Number(found.at) < points) at = Number(found.at);
    }
    const chosen = () => {
      const indices = controls.map(({ name, values }) => values.indexOf(state[name]));
      const story = indices.pop();
      const place = indices.reduce((sum, index, i) => sum * controls[i].values.length + index, 0);
      const from = (place * stories + story) * points;
      return { curve: curves.subarray(from, from + points), range: ranges[place][story], whole: whole[place] };
    };
    const select = (change) => {
      Object.assign(state, change);
      model.set("selected", { ...state });
      model.save_changes();
      refresh();
      remember();
    };
    const remember = () => page && toAddress(model.get("name"), at === null ? state : { ...state, at });

    const groups = controls.map(({ name, values }) =>
      Object.assign(choice(name, values, state[name], (value) => select({ [name]: value })), { control: name }),
    );
    const slider = make("input", {
      type: "range", min: 0, max: points - 1, step: 1, "data-lm-suppress-shortcuts": "true",
      input: () => ((at = Number(slider.value)), refresh(), remember()),
    });
    const told = make("p", { class: "told", "aria-live": "polite" });
    const picture = make("div", {});
    el.classList.add("explorer");
    el.append(
      make("div", { class: "controls", role: "group", "aria-label": "Choose a model and a story" }, ...groups),
      picture, make("label", { class: "slide" }, make("span", { text: "parameter" }), slider), told,
    );

    function refresh() {
      groups.forEach((group) => group.show(state[group.control]));
      const one = chosen(), none = Number.isNaN(one.curve[0]);
      slider.disabled = none;
      picture.replaceChildren();
      if (none) return say(told, "These models saw no sample, so that this story cannot be told of them.");
      const best = one.curve.indexOf(Math.min(...one.curve));
      const here = at ?? best, parameter = (i) => one.range[0] + ((one.range[1] - one.range[0]) * i) / (points - 1);
      const share = (i) => `${((1 - one.curve[i] / one.whole) * 100).toFixed(1)} %`.replace("-", "−");
      slider.value = here;
      slider.setAttribute("aria-valuetext", `${signed(parameter(here), 2)}, explains ${share(here)}`);
      picture.append(draw(one, here, best));
      say(told, `At ${signed(parameter(here), 2)} the divergence from the model is ${one.curve[here].toFixed(4)} nats; of the ` +
        `${one.whole.toFixed(4)} nats between target and model that explains ${share(here)}. ` +
        `Best on this scale: ${signed(parameter(best), 2)}, which explains ${share(best)}.`);
    }

    function draw({ curve, range, whole: most }, here, best) {
      const width = 480, height = 190, left = 52, bottom = 26, top = 1.7 * most;
      const x = (i) => left + ((width - left - 8) * i) / (points - 1);
      const y = (value) => height - bottom - ((height - bottom - 24) * Math.min(value, top)) / top;
      const drawn = (i) => curve[i] <= top; // what lies higher is left out: the question is what lies below the dashes
      const path = Array.from(curve, (v, i) =>
        drawn(i) ? `${i && drawn(i - 1) ? "L" : "M"}${x(i).toFixed(1)} ${y(v).toFixed(1)}` : "").join("");
      const text = (place, words, anchor) => make("text", { ...place, "font-size": 11, "text-anchor": anchor, fill: "currentColor", text: words });
      return make("svg", { viewBox: `0 0 ${width} ${height}`, class: "curve", role: "img",
          "aria-label": `KL divergence of the family's members from the model, from ${range[0].toFixed(2)} to ${range[1].toFixed(2)}: least at the diamond; the dashed line is the target's.` },
        make("line", { x1: left, x2: width - 8, y1: y(0), y2: y(0), stroke: "currentColor" }),
        make("line", { x1: left, x2: width - 8, y1: y(most), y2: y(most), stroke: "currentColor", "stroke-dasharray": "5 4", opacity: 0.7 }),
        make("path", { d: path, fill: "none", stroke: "currentColor", "stroke-width": 2, class: "kl" }),
        make("path", { d: `M${x(best)} ${y(curve[best]) - 7}l6 7l-6 7l-6 -7z`, fill: "none", stroke: "currentColor" }),
        make("circle", { cx: x(here), cy: y(curve[here]), r: 5, fill: "currentColor" }),
        text({ x: left - 5, y: y(0) }, "0", "end"), text({ x: left - 5, y: y(most) + 4 }, most.toFixed(3), "end"),
        text({ x: left, y: height - 8 }, range[0].toFixed(2), "start"), text({ x: width - 8, y: height - 8 }, range[1].toFixed(2), "end"),
        text({ x: (left + width) / 2, y: height - 8 }, "the story's parameter", "middle"), text({ x: left, y: 10 }, "KL(p_φ‖pθ), nats", "start"));
    }

    const fromPython = () => (Object.assign(state, model.get("selected")), refresh());
    model.on("change:selected", fromPython);
    refresh();
    return () => model.off("change:selected", fromPython);
  },
};
