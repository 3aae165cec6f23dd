// A decoder-only transformer on a language's prefix trie, forward and backward, in doubles: models/transformer.py without
// PyTorch, for a page, a Web Worker or Node. Plain declarations; explorers.engine() puts all trie_*.js in their order.
//
// Glossary of shapes; every array is a flat row-major Float64Array unless said otherwise
// ------------------------------------------------------------------------------------------
// V, T, S  symbols, sentence length, sentences V^T (lexicographic)
// N        prefixes, breadth first from the empty one, 0: the parent of n is ⌊(n − 1) / V⌋. Where a layout is restricted to
//          the prefixes that training data reach, n ≤ N of them, in the same order
// R        1 + (T − 1)·V rows: what differs before positions are mixed is a prefix's last symbol and its length only
// d, H, D  d_model, n_heads, D = d / H;   f  FFN neurons a layer
// edges    (N, V): weights on the trie, the mass that passes from a prefix to each continuation. Edge e = n·V + v leads to
//          prefix e + 1, or from the longest prefixes to sentence e − V·start[T − 1]
// config   {vocab_size, length, d_model, n_layers, n_heads, d_ff, variant, norm}, as TransformerConfig's fields; `d_ff: null`
//          is 4·d, variant "full" | "attention_only" | "ffn_only" | "no_mixing", norm "pre" | "post" | "none"
//
//   trieLanguage(V, T)         {V, T, S, N, start}; start (T + 1) is the first prefix of each length, and N
//   prefixOf(language, n)      the symbols of prefix n
//   shapesOf(config)           [[name, rows, columns], …], names and order of PyTorch's state_dict
//   new TrieModel(config)      throws a RangeError that says what does not fit
//     .theta  .gradient        (P): all parameters in that order, as Run.parameters has them, and the loss's gradient
//     .parameters[name]  .gradients[name]    views of these
//     .initialise(normal)      draws theta; `normal()` is a standard normal number (new Random(seed, "init").normal)
//     .forward(layout)         log p(symbol | prefix), nats, (n, V) = .logProbs; .logits before normalisation. Without an
//                              argument it runs on all N prefixes
//     .loss(edges)             −Σ edges · log p of the last forward pass, nats a sentence; edges are always of all N prefixes
//     .backward(edges)         its gradient with respect to all parameters, into .gradient
//     .activity(edges)         of the last forward pass, [{dead, unreached, active}, …] a layer: how many neurons fire in no
//                              prefix, in none with weight, and the share that fire on average over the weight
//     .silent(layer, edges)    (f) Uint8Array: 1 for a neuron that fires in no prefix of the last pass, or, given edges, in
//                              none with weight
//     .blocks[l].mix.weights   (n, H, T): attention, nearest ancestor (the prefix itself) first, 0 beyond the empty prefix
//     .blocks[l].ffn.neurons   (n, f) after the ReLU; (R, f) with no_mixing, see layout.row
//     .blocks[l].out           (n, d): the residual stream after a layer; (R, d) with no_mixing
//   new Layout(language)       .n, .node (n) which prefixes, .row (n) their rows, .depth (n);  .restrict(edges) to those with
//                              weight, in place
// Nothing is allocated by forward, loss and backward: results are buffers that the next call overwrites.

const VARIANTS = ["full", "attention_only", "ffn_only", "no_mixing"], NORMS = ["pre", "post", "none"];

// ---- the language and the trie -----------------------------------------------------------------------------------------

/** Every sentence of T symbols out of V, and their prefixes; as tasks/language.py numbers them. */
function trieLanguage(V, T) {
  for (const x of [V, T]) if (!(Number.isInteger(x) && x >= 1)) throw new RangeError(`needs whole numbers from 1 on, got ${V}, ${T}`);
  const start = [0];
  for (let t = 0; t < T; t++) start.push(start[t] + V ** t);
  if (V ** T > 2e6 || start[T] > 2e6) throw new RangeError(`${V} symbols and length ${T} are too many sentences to count`);
  return { V, T, S: V ** T, N: start[T], start };
}

/** The symbols of prefix n, read off on the way to the empty one. */
function prefixOf({ V }, n) {
  const symbols = [];
  for (; n > 0; n = Math.floor((n - 1) / V)) symbols.unshift((n - 1) % V);
  return symbols;
}

/** What passes through a prefix. */
function massOf(edges, node, V) {
  let mass = 0;
  for (let v = 0; v < V; v++) mass += edges[node * V + v];
  return mass;
}

/** Which prefixes a pass is over, and where their ancestors lie: models/layouts.py's TrieLayout, or a part of it. */
class Layout {
  constructor(language) {
    const { N, T, V } = language;
    Object.assign(this, { language, n: 0, nRows: 1 + (T - 1) * V });
    for (const name of ["node", "row", "depth", "place"]) this[name] = new Int32Array(N);
    this.nodePath = new Int32Array(N * T); // (n, T) places of a prefix and its ancestors, nearest first
    this.rowPath = new Int32Array(N * T); // and their rows
    this.restrict(null);
  }

  /** Keep the prefixes through which any weight passes (with a prefix, so do all its ancestors); null keeps all. */
  restrict(edges) {
    const { N, T, V } = this.language;
    this.n = 0;
    for (let node = 0; node < N; node++) {
      if (edges !== null && node > 0 && !(edges[node - 1] > 0)) continue;
      this.add(node, V, T);
    }
  }

  add(node, V, T) {
    const at = this.n++, parent = node > 0 ? this.place[Math.floor((node - 1) / V)] : 0;
    const depth = node > 0 ? this.depth[parent] + 1 : 0;
    this.node[at] = node;
    this.place[node] = at;
    this.depth[at] = depth;
    this.row[at] = node > 0 ? 1 + (depth - 1) * V + ((node - 1) % V) : 0;
    this.nodePath[at * T] = at;
    this.rowPath[at * T] = this.row[at];
    for (let up = 0; up < depth; up++) {
      this.nodePath[at * T + up + 1] = this.nodePath[parent * T + up];
      this.rowPath[at * T + up + 1] = this.rowPath[parent * T + up];
    }
  }
}

// ---- the model ---------------------------------------------------------------------------------------------------------

/** FFN neurons a layer. */
const neuronsOf = ({ d_ff, d_model }) => d_ff ?? 4 * d_model;

/** Throws a RangeError if the fields do not fit together. */
function checkConfig(c) {
  for (const name of ["d_model", "n_layers", "n_heads"]) {
    if (!(Number.isInteger(c[name]) && c[name] >= 1)) throw new RangeError(`${name} must be at least 1, got ${c[name]}`);
  }
  if (c.d_model % c.n_heads) throw new RangeError(`n_heads = ${c.n_heads} does not divide d_model = ${c.d_model}`);
  if (!(Number.isInteger(neuronsOf(c)) && neuronsOf(c) >= 1)) throw new RangeError(`d_ff must be at least 1, got ${c.d_ff}`);
  if (!VARIANTS.includes(c.variant)) throw new RangeError(`unknown variant ${c.variant}; choose from ${VARIANTS.join(", ")}`);
  if (!NORMS.includes(c.norm)) throw new RangeError(`unknown norm ${c.norm}; choose from ${NORMS.join(", ")}`);
}

/** [name, rows, columns] of each parameter, in PyTorch's order. */
function shapesOf({ vocab_size: V, length: T, d_model: d, n_layers, variant, norm, ...rest }) {
  const f = neuronsOf({ d_model: d, ...rest }), shapes = [["token", V + 1, d], ["position", T, d]];
  const linear = (name, p, q) => shapes.push([`${name}.weight`, p, q], [`${name}.bias`, 1, q]);
  const normed = (name) => shapes.push([`${name}.gain`, 1, d], [`${name}.bias`, 1, d]);
  for (let l = 0; l < n_layers; l++) {
    const block = `blocks.${l}`, mixes = variant !== "no_mixing", recalls = variant !== "attention_only";
    if (mixes && variant !== "ffn_only") {
      linear(`${block}.mix.qkv`, d, 3 * d);
      linear(`${block}.mix.out`, d, d);
    }
    if (recalls) {
      linear(`${block}.ffn.keys`, d, f);
      linear(`${block}.ffn.values`, f, d);
    }
    if (norm !== "none" && mixes) normed(`${block}.norm_mix`);
    if (norm !== "none" && recalls) normed(`${block}.norm_ffn`);
  }
  if (norm === "pre") normed("norm");
  linear("unembed", d, V);
  return shapes;
}

class TrieModel {
  constructor(config) {
    checkConfig(config);
    const { vocab_size: V, length: T, d_model: d, n_layers, norm } = config;
    this.config = config;
    this.language = trieLanguage(V, T);
    this.full = this.layout = new Layout(this.language);
    this.shapes = shapesOf(config);
    const size = this.shapes.reduce((all, [, rows, columns]) => all + rows * columns, 0);
    Object.assign(this, { theta: new Float64Array(size), gradient: new Float64Array(size), parameters: {}, gradients: {} });
    let at = 0;
    for (const [name, rows, columns] of this.shapes) {
      this.parameters[name] = this.theta.subarray(at, at + rows * columns);
      this.gradients[name] = this.gradient.subarray(at, (at += rows * columns));
    }
    this.blocks = Array.from({ length: n_layers }, (_, l) => new Block(this, `blocks.${l}`, l === 0));
    this.norm = norm === "pre" ? new LayerNorm(this, "norm", d) : null;
    this.unembed = new Linear(this, "unembed", d, V);
    const { N } = this.language;
    for (const name of ["embedded", "expanded", "folded"]) this[name] = new Float64Array(N * d);
    for (const name of ["logProbs", "p", "dLogits"]) this[name] = new Float64Array(N * V);
  }

  /** A part's parameters and their gradients: {w: "weight"} gives w and dw. */
  views(part, names) {
    const found = Object.entries(names).map(([short, name]) => [short, `${part}.${name}`]);
    return Object.fromEntries(found.flatMap(([short, name]) => [[short, this.parameters[name]], [`d${short}`, this.gradients[name]]]));
  }

  get logits() {
    return this.unembed.out;
  }

  /** Tokens and positions from N(0, 1), weights from N(0, 1 / d_in), biases 0, gains 1. */
  initialise(normal) {
    for (const [name, rows] of this.shapes) {
      const scale = name.endsWith("weight") ? rows ** -0.5 : 1, view = this.parameters[name];
      if (/bias$|gain$/.test(name)) view.fill(name.endsWith("gain") ? 1 : 0);
      else for (let i = 0; i < view.length; i++) view[i] = scale * normal();
    }
  }

  forward(layout = this.full) {
    this.layout = layout;
    let x = this.embed();
    for (const block of this.blocks) x = block.forward(x, layout);
    if (this.config.variant === "no_mixing") x = this.expand(x);
    this.normalise(this.unembed.forward(this.norm ? this.norm.forward(x, layout.n) : x, layout.n));
    return this.logProbs;
  }

  /** (R, d): token + position of each row. */
  embed() {
    const { token, position } = this.parameters, { d_model: d, vocab_size: V } = this.config, { embedded, layout } = this;
    for (let r = 0; r < layout.nRows; r++) {
      const symbol = (r === 0 ? V : (r - 1) % V) * d, place = Math.ceil(r / V) * d;
      for (let i = 0; i < d; i++) embedded[r * d + i] = token[symbol + i] + position[place + i];
    }
    return embedded;
  }

  /** Rows (R, d) to prefixes (n, d). */
  expand(x) {
    const { expanded, layout: { n, row }, config: { d_model: d } } = this;
    for (let r = 0; r < n; r++) for (let i = 0; i < d; i++) expanded[r * d + i] = x[row[r] * d + i];
    return expanded;
  }

  /** Logits to p and log p. */
  normalise(logits) {
    const { logProbs, p, layout: { n }, language: { V } } = this;
    for (let r = 0, at = 0; r < n; r++, at += V) {
      let top = -Infinity, sum = 0;
      for (let v = 0; v < V; v++) if (logits[at + v] > top) top = logits[at + v];
      for (let v = 0; v < V; v++) sum += p[at + v] = Math.exp(logits[at + v] - top);
      const norm = top + Math.log(sum);
      for (let v = 0; v < V; v++) {
        logProbs[at + v] = logits[at + v] - norm;
        p[at + v] /= sum;
      }
    }
  }

  loss(edges) {
    const { logProbs, layout: { n, node }, language: { V } } = this;
    let loss = 0;
    for (let r = 0; r < n; r++) for (let v = 0; v < V; v++) loss -= edges[node[r] * V + v] * logProbs[r * V + v];
    return loss;
  }

  backward(edges) {
    const { layout, norm, unembed, blocks } = this;
    this.gradient.fill(0);
    let g = unembed.backward(this.lossBack(edges), layout.n);
    if (norm) g = norm.backward(g, layout.n);
    if (this.config.variant === "no_mixing") g = this.fold(g);
    for (let l = blocks.length - 1; l >= 0; l--) g = blocks[l].backward(g, layout);
    this.embedBack(g);
  }

  /** The gradient of the loss with respect to the logits: mass · p − edges. */
  lossBack(edges) {
    const { dLogits, p, layout: { n, node }, language: { V } } = this;
    for (let r = 0, at = 0; r < n; r++, at += V) {
      const from = node[r] * V, mass = massOf(edges, node[r], V);
      for (let v = 0; v < V; v++) dLogits[at + v] = mass * p[at + v] - edges[from + v];
    }
    return dLogits;
  }

  /** Neurons of a layer that fire in no prefix of the last pass; `edges` restricts that to prefixes with weight. */
  silent(layer, edges = null) {
    const { neurons, f } = this.blocks[layer].ffn, { n, row, node } = this.layout, { V } = this.language;
    const result = new Uint8Array(f).fill(1);
    for (let r = 0; r < n; r++) {
      if (edges !== null && !massOf(edges, node[r], V)) continue;
      const from = (this.blocks[layer].mix ? r : row[r]) * f;
      for (let j = 0; j < f; j++) if (neurons[from + j] > 0) result[j] = 0;
    }
    return result;
  }

  activity(edges) {
    const count = (flags) => flags.reduce((all, flag) => all + flag, 0);
    const of = (l) => ({ dead: count(this.silent(l)), unreached: count(this.silent(l, edges)), active: this.active(l, edges) });
    return this.blocks.flatMap(({ ffn }, l) => (ffn ? [of(l)] : []));
  }

  /** The share of a layer's neurons that fire, on average over prefixes by their weight. */
  active(layer, edges) {
    const { neurons, f } = this.blocks[layer].ffn, { n, row, node } = this.layout, { V } = this.language;
    let fires = 0, all = 0;
    for (let r = 0; r < n; r++) {
      const from = (this.blocks[layer].mix ? r : row[r]) * f, mass = massOf(edges, node[r], V);
      let count = 0;
      for (let j = 0; j < f; j++) if (neurons[from + j] > 0) count++;
      fires += (mass * count) / f;
      all += mass;
    }
    return fires / all;
  }

  /** Prefixes (n, d) to rows (R, d), added up: `expand`, backward. */
  fold(g) {
    const { folded, layout: { n, nRows, row }, config: { d_model: d } } = this;
    folded.fill(0, 0, nRows * d);
    for (let r = 0; r < n; r++) for (let i = 0; i < d; i++) folded[row[r] * d + i] += g[r * d + i];
    return folded;
  }

  embedBack(g) {
    const { token, position } = this.gradients, { d_model: d, vocab_size: V } = this.config;
    for (let r = 0; r < this.layout.nRows; r++) {
      const symbol = (r === 0 ? V : (r - 1) % V) * d, place = Math.ceil(r / V) * d;
      for (let i = 0; i < d; i++) {
        token[symbol + i] += g[r * d + i];
        position[place + i] += g[r * d + i];
      }
    }
  }
}
