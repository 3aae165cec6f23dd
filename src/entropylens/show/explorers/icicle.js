// The prefix trie of a small language, and how it is drawn: what the explorers of chapters 2 and 7 share.

/** All contexts, of 0 to `length` − 1 letters; numbered by length, then by the alphabet, as in tasks/language.py. */
function trieOf(letters, length) {
  const size = letters.length, depth = [0];
  const parent = (node) => Math.floor((node - 1) / size);
  const starts = Array.from({ length: length + 1 }, (_, t) => (size ** t - 1) / (size - 1)); // of each length
  for (let node = 1; node < starts[length]; node++) depth.push(depth[parent(node)] + 1);
  const letter = (node) => letters[(node - 1) % size];
  const spell = (node) => (node === 0 ? "" : spell(parent(node)) + letter(node));
  /** A context and what it begins with, the empty one first. */
  const path = (node) => (node === 0 ? [0] : [...path(parent(node)), node]);
  /** The context that a text spells; null if there is none. */
  const find = (text) => {
    const ids = [...text].map((each) => letters.indexOf(each));
    return ids.length < length && !ids.includes(-1) ? ids.reduce((node, id) => node * size + 1 + id, 0) : null;
  };
  return { letters, length, size, nodes: starts[length], starts, depth, parent, letter, spell, path, find };
}

const ICICLE = { row: 26, leaf: 17, left: 16, right: 14, top: 16 };

/** A box for each context, one row a length; the longest are folded: under each the continuations, one above the other. */
function boxesOf({ size, nodes, depth, parent, length }, weights, width) {
  const { row, leaf, left, right, top } = ICICLE;
  const share = (node) => { // of its parent's extent
    if (!weights) return 1 / size;
    const first = parent(node) * size + 1, sum = weights.subarray(first, first + size).reduce((a, b) => a + b);
    return sum ? weights[node] / sum : 1 / size;
  };
  const boxes = [{ x: left, y: top, w: width - left - right, h: row, filled: 0 }];
  for (let node = 1; node < nodes; node++) {
    const from = boxes[parent(node)], part = share(node), y = top + row * depth[node], tall = leaf * size;
    boxes.push(depth[node] === length - 1 ? { x: from.x, w: from.w, y: y + from.filled * tall, h: part * tall, filled: 0 }
      : { x: from.x + from.filled * from.w, w: part * from.w, y, h: row, filled: 0 });
    from.filled += part;
  }
  return boxes;
}

/**
 * Draw the trie into a panel, each context shaded by `shade(node)`, 0 (blank) to 1; areas in a row in proportion to `weights`, or
 * equal. `frame` holds further attributes. Returns a way to `mark` contexts, the first most.
 */
function icicle(panel, trie, { weights, shade, label, frame = {} }) {
  const { letters, length, size, depth } = trie, { row, leaf, left, right, top } = ICICLE;
  const width = Math.max(240, panel.clientWidth || 400), bottom = top + row * (length - 1) + leaf * size, to = width - right;
  const boxes = boxesOf(trie, weights, width), shades = boxes.map((_, node) => shade(node));
  const pen = { stroke: "currentColor", opacity: 0.3, "shape-rendering": "crispEdges" };
  const line = (x1, y1, x2, y2) => make("line", { x1, y1, x2, y2, ...pen });
  const middling = { "dominant-baseline": "central" };
  const rects = boxes.map(({ x, y, w, h }, node) => // what is shaded at all is told from what is not
    make("rect", { x, y, width: w, height: h, "data-node": node, class: "fires", "fill-opacity": shades[node] && 0.15 + 0.85 * shades[node] }));
  const lines = boxes.flatMap(({ x, y, w }, node) => (w > 6 && depth[node] < length - 1 ? [line(x, y, x, bottom)] : []));
  const rows = [...Array(length).keys()].map((t) => line(left, top + row * t, to, top + row * t));
  const labels = boxes.flatMap(({ x, y, w, h }, node) => (w < 11 || h < 12 || node === 0 ? []
    : [words(x + w / 2, y + h / 2, trie.letter(node), { ...middling, ...(shades[node] > 0.7 ? { class: "on" } : {}) })]));
  const middle = (t) => top + row * t + (t < length - 1 ? row : leaf * size) / 2;
  const aside = (letter, i) => words(width - 6, top + row * (length - 1) + leaf * (i + 0.5), letter, middling);
  const rings = make("g", {});
  panel.replaceChildren(make("svg", { viewBox: `0 0 ${width} ${bottom + 4}`, width, height: bottom + 4, class: "trie", role: "img", "aria-label": label, ...frame },
    ...rects, ...lines, ...rows, line(to, top, to, bottom), line(left, bottom, to, bottom), ...labels, ...(weights ? [] : [...letters].map(aside)),
    words(0, 7, "symbols so far", { "text-anchor": "start", ...middling }), ...rows.map((_, t) => words(5, middle(t), t, middling)), rings));
  const ring = (node, i) => {
    const { x, y, w, h } = boxes[node];
    return make("rect", { x: x - 2, y: y - 2, width: w + 4, height: h + 4, class: i ? "ring way" : "ring" });
  };
  return { mark: (nodes) => rings.replaceChildren(...nodes.map(ring)) };
}
