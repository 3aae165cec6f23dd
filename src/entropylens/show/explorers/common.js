// What all explorers share. Plain functions, no library: an explorer is one module, this file in front of its own.

/** An element with attributes and children; `text` sets its text, and functions become listeners. */
function make(tag, attributes = {}, ...children) {
  const svg = ["svg", "g", "rect", "line", "path", "text", "circle"].includes(tag);
  const node = svg ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "text") node.textContent = value;
    else if (typeof value === "function") node.addEventListener(name, value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** A group of radio buttons; `changed` is told the value. JupyterLab would take the arrow keys without the attribute. */
function choice(label, values, value, changed, called = {}) {
  const name = `${label}-${Math.random().toString(36).slice(2)}`;
  const buttons = values.map((each) => {
    const input = make("input", { type: "radio", name, value: each, "data-lm-suppress-shortcuts": "true" });
    input.checked = each === value;
    input.addEventListener("change", () => changed(each));
    return make("label", {}, input, make("span", { text: called[each] ?? each }));
  });
  const group = make("fieldset", {}, make("legend", { text: label }), ...buttons);
  group.show = (now) => group.querySelectorAll("input").forEach((input) => (input.checked = input.value === now));
  return group;
}

/** A drop-down list; `changed` is told the value, and `show` has it offer values, of which one is chosen. */
function pick(label, changed) {
  const list = make("select", { "data-lm-suppress-shortcuts": "true", change: () => changed(list.value) });
  const whole = make("label", { class: "pick" }, make("b", { text: label }), list);
  whole.show = (values, value) => {
    if (list.dataset.offered !== values.join()) list.replaceChildren(...values.map((text) => make("option", { text, value: text })));
    list.dataset.offered = values.join();
    list.value = value;
  };
  return whole;
}

/**
 * A slider from `low` to `high`. `value()` is where it stands, `shown()` its value in words, beside its name, and `said()` what
 * is read out as its value; its own name does not change with it. `show` is to be called when the value has changed.
 */
function slider([low, high, steps], { name, value, shown, said = shown, changed, hidden = () => false }) {
  const text = make("span", {}), exact = (x) => Math.round(1e6 * x) / 1e6; // no tails of digits
  const range = make("input", {
    type: "range", min: 0, max: steps, step: 1, "aria-label": name, "data-lm-suppress-shortcuts": "true",
    input: () => changed(Math.min(high, exact(low + ((high - low) * range.value) / steps))),
  });
  const label = make("label", { class: "slide" }, text, range);
  label.show = () => {
    label.hidden = hidden();
    range.value = Math.round(((value() - low) / (high - low)) * steps);
    range.setAttribute("aria-valuetext", said());
    say(text, `${name} ${shown()}`);
  };
  return label;
}

/** x, or the end of the range that it is beyond. */
const within = (x, low, high) => Math.min(high, Math.max(low, x));

/** Words in a picture, in its middle at x. */
function words(x, y, text, attributes = {}) {
  return make("text", { x, y, text, "font-size": 12, "text-anchor": "middle", fill: "currentColor", ...attributes });
}

/** A round number of about a fourth of a span. */
function roundly(span) {
  const power = 10 ** Math.floor(Math.log10(span / 4));
  return power * [1, 2, 5, 10].find((factor) => factor * power >= span / 4);
}

/** Ends around values, and ticks [value, words] between them, both included. */
function scaleOf(values) {
  const low = Math.min(...values), high = Math.max(...values), by = roundly(Math.max(high - low, 0.02) * 1.3);
  const first = Math.floor(low / by - 0.25), last = Math.ceil(high / by + 0.25), digits = Math.max(0, -Math.floor(Math.log10(by) + 1e-9));
  const ticks = Array.from({ length: last - first + 1 }, (_, i) => [(first + i) * by, ((first + i) * by).toFixed(digits)]);
  return { low: first * by, high: last * by, ticks };
}

/**
 * A picture as wide as its panel: ticks [value, words] on an axis from the first, at the height `bottom`, to the last, at `top`,
 * and what `draw` makes of the left and right end and the height of a value; what is beyond the axis is at its end.
 */
function chart(panel, { heading, label, ticks, left, right, top, bottom, height }, draw) {
  const width = within(panel.clientWidth || 320, 220, 480), to = width - right, [low, high] = [ticks[0][0], ticks.at(-1)[0]];
  const y = (value) => bottom - ((within(value, low, high) - low) / (high - low)) * (bottom - top);
  const axis = ticks.flatMap(([value, text], i) => [
    make("line", { x1: left, x2: to, y1: y(value), y2: y(value), stroke: "currentColor", opacity: i ? 0.2 : 0.6 }),
    words(left - 5, y(value), text, { "text-anchor": "end", "dominant-baseline": "central" }),
  ]);
  panel.replaceChildren(make("svg", { viewBox: `0 0 ${width} ${height}`, width, height, class: "chart", role: "img", "aria-label": label },
    words(0, 12, heading, { "text-anchor": "start", "font-weight": "bold" }), ...axis, ...draw(left, to, y)));
}

/**
 * Pairs of bars from 0 to 1, side by side for each of `names`: `filled` and `hollow` hold a share for each, with what they are
 * `called`; a share that is null has no bar. `axis` is what the names are.
 */
function pairs(panel, { heading, label, names, filled, hollow, called, axis }) {
  const frame = { left: 42, right: 12, top: 70, bottom: 196, height: 230 }, left = { "text-anchor": "start", "dominant-baseline": "central" };
  chart(panel, { ...frame, heading, label, ticks: SHARES }, (from, to, y) => {
    const step = (to - from) / names.length, wide = 0.34 * step;
    const bar = (share, i, kind, x) => (share === null ? []
      : [make("rect", { x, y: y(share), width: wide, height: frame.bottom - y(share), class: kind, "data-of": names[i] })]);
    const key = (kind, i) => [make("rect", { x: 0, y: 22 + 16 * i, width: 24, height: 11, class: kind }), words(30, 28 + 16 * i, called[i], left)];
    return [
      ...["bar", "hollow"].flatMap(key), words((from + to) / 2, frame.bottom + 30, axis),
      ...names.flatMap((name, i) => {
        const x = from + (i + 0.5) * step;
        return [...bar(filled[i], i, "bar", x - wide - 1), ...bar(hollow[i], i, "hollow", x + 2), words(x, frame.bottom + 16, name)];
      }),
    ];
  });
}

/** A table of numbers: heads, and rows that begin with their own; a cell [text, share] is shaded by its share. */
function fill(table, caption, heads, rows) {
  const cell = (inside) => {
    const [text, share] = Array.isArray(inside) ? inside : [inside, null];
    return make("td", { text, ...(share === null ? {} : { class: "shaded", style: `--share: ${share}` }) });
  };
  table.replaceChildren(...(caption ? [make("caption", { text: caption })] : []),
    make("thead", {}, make("tr", {}, ...heads.map((text) => make("th", { scope: "col", text })))),
    make("tbody", {}, ...rows.map(([head, ...cells]) => make("tr", {}, make("th", { scope: "row", text: head }), ...cells.map(cell)))));
}

/** A copy of the bytes of a trait: those of a page need not begin where larger numbers may. */
function bytesOf(model, name) {
  const view = model.get(name);
  return view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
}

/** A share as text. */
const percent = (share) => (share < 0.005 ? "<1\u00a0%" : `${Math.round(100 * share)}\u00a0%`);
const SHARES = [0, 0.5, 1].map((share) => [share, `${100 * share}\u00a0%`]); // ticks

/** A canvas of the given CSS size, sharp on dense screens: returns a context that is scaled to CSS pixels. */
function sharpContext(canvas, width, height) {
  const density = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * density);
  canvas.height = Math.round(height * density);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d");
  context.setTransform(density, 0, 0, density, 0, 0);
  context.clearRect(0, 0, width, height);
  return context;
}

/**
 * Learned against true probability of all sentences, both logarithmic: `truth` and `learned` are bytes, as `as_bytes` in models.py
 * has them, `seen` is how often a sample has each, or null, and points are as dark as `strength` (1 is usual). Returns the pen, its ink, and where a byte lies.
 */
function scatter(canvas, el, { truth, learned, seen, decades, strength = 1 }) {
  const width = within(canvas.parentElement.clientWidth || 400, 220, 400), margin = 46, inner = width - margin - 8;
  const style = getComputedStyle(el), ink = style.color;
  const dark = (ink.match(/\d+/g) ?? [0]).slice(0, 3).reduce((sum, c) => sum + Number(c), 0) > 384;
  const filled = dark ? "#56B4E9" : "#0072B2", hollow = dark ? "#E69F00" : "#D55E00";
  const g = sharpContext(canvas, width, width), x = (byte) => margin + (byte / 255) * inner, y = (byte) => 8 + inner - (byte / 255) * inner;
  g.font = `11px ${style.fontFamily}`;
  g.strokeStyle = g.fillStyle = ink;
  scatterAxes(g, { margin, inner, width, decades });
  for (const pass of [false, true]) { // hollow ones first, so that the rare filled ones stay visible
    for (let i = 0; i < truth.length; i++) {
      const isSeen = !seen || seen[i] > 0;
      if (isSeen !== pass) continue;
      g.beginPath();
      g.arc(x(truth[i]), y(learned[i]), isSeen ? 1.7 : 2, 0, 2 * Math.PI);
      g.globalAlpha = (isSeen ? 0.55 : 0.5) * strength;
      if (isSeen) (g.fillStyle = filled), g.fill();
      else (g.strokeStyle = hollow), g.stroke();
    }
  }
  g.globalAlpha = 1;
  return { g, ink, x, y };
}

function scatterAxes(g, { margin, inner, width, decades }) {
  const superscript = (n) => String(n).replace("-", "⁻").replace(/\d/g, (d) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[d]);
  g.lineWidth = 1;
  g.textAlign = "right";
  g.textBaseline = "middle";
  for (let d = 0; d <= decades; d++) {
    const at = (d / decades) * inner, power = d - decades;
    g.globalAlpha = 0.18;
    g.beginPath();
    g.moveTo(margin + at, 8), g.lineTo(margin + at, 8 + inner);
    g.moveTo(margin, 8 + at), g.lineTo(margin + inner, 8 + at);
    g.stroke();
    g.globalAlpha = 1;
    const label = power === 0 ? "1" : `10${superscript(power)}`;
    if (d % 2 === decades % 2) {
      g.fillText(label, margin - 4, 8 + inner - at);
      g.textAlign = "center";
      g.fillText(label, margin + at, 8 + inner + 11);
      g.textAlign = "right";
    }
  }
  g.setLineDash([5, 4]);
  g.beginPath();
  g.moveTo(margin, 8 + inner), g.lineTo(margin + inner, 8);
  g.stroke();
  g.setLineDash([]);
  g.textAlign = "center";
  g.fillText("true probability, p_tgt", margin + inner / 2, width - 10);
  g.save();
  g.translate(9, 8 + inner / 2);
  g.rotate(-Math.PI / 2);
  g.fillText("learned probability, pθ", 0, 0);
  g.restore();
}

/** Change an element's text only if it differs: a live region reads out whatever is set. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/**
 * What is told in words that change with every tick of a slider: [seen, heard]. Both change by `seen.tell(text)`, but what is read
 * out is set only when nothing has changed for a while.
 */
function announced() {
  const seen = make("p", { class: "told", "aria-hidden": "true" }), heard = make("p", { class: "heard", "aria-live": "polite" });
  let later = 0;
  seen.tell = (text) => {
    say(seen, text);
    clearTimeout(later);
    later = setTimeout(() => say(heard, text), heard.textContent ? 300 : 0);
  };
  return [seen, heard];
}

/** Call `draw` now, and again when the reader's colour scheme or the element's width changes; returns a way to stop. */
function keepDrawn(el, draw) {
  const again = () => requestAnimationFrame(draw);
  const theme = new MutationObserver(again);
  const where = { attributes: true, attributeFilter: ["data-theme", "data-jp-theme-light", "class"] };
  for (const root of [document.documentElement, document.body]) theme.observe(root, where);
  let width = null; // what is drawn may change the height itself
  const size = new ResizeObserver(([{ contentRect }]) => {
    if (contentRect.width !== width) again();
    width = contentRect.width;
  });
  size.observe(el);
  draw();
  return () => (theme.disconnect(), size.disconnect());
}

/** What the page's address holds for an explorer, as {control: value}; {} if nothing, or nothing that can be read. */
function fromAddress(name) {
  const found = new URLSearchParams(location.search).get(name);
  const atColon = (pair) => [pair.slice(0, pair.indexOf(":")), pair.slice(pair.indexOf(":") + 1)];
  return found ? Object.fromEntries(found.split(";").map(atColon)) : {};
}

/** Put a state into the page's address, so that a link leads back to it; browsers refuse very frequent changes. */
function toAddress(name, state) {
  const address = new URL(location.href);
  const text = Object.entries(state).map(([key, value]) => `${key}:${value}`).join(";");
  address.searchParams.set(name, text);
  try {
    history.replaceState(history.state, "", address);
  } catch (error) {
    console.info(error.message);
  }
}

/** A way to change an explorer's state: `refresh` draws it, and Python is told, and the address of a built page. */
function selector({ model, page }, state, refresh) {
  return (change) => {
    Object.assign(state, change);
    model.set("selected", { ...state });
    model.save_changes();
    refresh();
    if (page) toAddress(model.get("name"), state);
  };
}

/** Keep an explorer drawn, also when Python changes its state; returns a way to stop. */
function keepUp({ model, el }, state, refresh) {
  const fromPython = () => (Object.assign(state, model.get("selected")), refresh());
  model.on("change:selected", fromPython);
  const stop = keepDrawn(el, refresh);
  return () => (model.off("change:selected", fromPython), stop());
}

/** "+0.123" or "−0.123". */
function signed(value, digits = 3) {
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(digits)}`;
}
