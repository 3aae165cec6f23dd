// A decoder-only transformer on a language's prefix trie, forward and backward, in doubles: models/transformer.py without
// PyTorch, for a page, a Web Worker or Node. Plain declarations; put trie_products.js in front, trie_training.js behind.
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
//     .silent(layer)           (f) Uint8Array: 1 for a neuron that fires in no prefix of the last pass
//     .blocks[l].mix.weights   (n, H, T): attention, nearest ancestor (the prefix itself) first, 0 beyond the empty prefix
//     .blocks[l].ffn.neurons   (n, f) after the ReLU; (R, f) with no_mixing, see layout.row
//     .blocks[l].out           (n, d): the residual stream after a layer; (R, d) with no_mixing
//   new Layout(language)       .n, .node (n) which prefixes, .row (n) their rows, .depth (n);  .restrict(edges) to those with
//                              weight, in place
// Nothing is allocated by forward, loss and backward: results are buffers that the next call overwrites.

const VARIANTS = ["full", "attention_only", "ffn_only", "no_mixing"], NORMS = ["pre", "post", "none"];
const NORM_EPS = 1e-5; // torch.nn.functional.layer_norm's

// ---- the language and the trie -----------------------------------------------------------------------------------------

/** Every sentence of T symbols out of V, and their prefixes; as tasks/language.py numbers them. */
function trieLanguage(V, T) {
  if (!(Number.isInteger(V) && Number.isInteger(T) && V >= 1 && T >= 1)) throw new RangeError(`needs whole numbers from 1 on, got V = ${V}, T = ${T}`);
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
    const at = this.n++, parent = node > 0 ? this.place[Math.floor((node - 1) / V)] : 0, depth = node > 0 ? this.depth[parent] + 1 : 0;
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

// ---- parts of a model --------------------------------------------------------------------------------------------------
// Each has `forward(x, n)` and `backward(g, n)`, from the gradient of what it gave to that of what it was given; both return
// buffers of its own. Gradients of parameters are added up.

class Linear {
  constructor(model, name, p, q) {
    Object.assign(this, { p, q, ...model.views(name, { w: "weight", b: "bias" }) });
    this.out = new Float64Array(model.language.N * q);
    this.back = new Float64Array(model.language.N * p);
  }

  forward(x, n) {
    this.x = x;
    product(this.out, x, this.w, this.b, n, this.p, this.q);
    return this.out;
  }

  backward(g, n) {
    productOuter(this.dw, this.db, this.x, g, n, this.p, this.q);
    productBack(this.back, g, this.w, n, this.p, this.q);
    return this.back;
  }
}

class LayerNorm {
  constructor(model, name, d) {
    Object.assign(this, { d, ...model.views(name, { a: "gain", b: "bias" }) });
    for (const buffer of ["scaled", "out", "back"]) this[buffer] = new Float64Array(model.language.N * d);
    this.rate = new Float64Array(model.language.N);
  }

  forward(x, n) {
    const { d, a, b, scaled, out } = this;
    for (let r = 0, at = 0; r < n; r++, at += d) {
      let mean = 0, variance = 0;
      for (let i = 0; i < d; i++) mean += x[at + i];
      mean /= d;
      for (let i = 0; i < d; i++) variance += (x[at + i] - mean) * (x[at + i] - mean);
      const rate = 1 / Math.sqrt(variance / d + NORM_EPS);
      this.rate[r] = rate;
      for (let i = 0; i < d; i++) {
        scaled[at + i] = (x[at + i] - mean) * rate;
        out[at + i] = scaled[at + i] * a[i] + b[i];
      }
    }
    return out;
  }

  /** With y = gain · g, what reaches x is (y − mean y − scaled · mean(y · scaled)) / σ. */
  backward(g, n) {
    const { d, a, da, db, scaled, back } = this;
    for (let r = 0, at = 0; r < n; r++, at += d) {
      let mean = 0, along = 0;
      for (let i = 0; i < d; i++) {
        const y = g[at + i] * a[i];
        mean += y;
        along += y * scaled[at + i];
        da[i] += g[at + i] * scaled[at + i];
        db[i] += g[at + i];
      }
      mean /= d;
      along /= d;
      for (let i = 0; i < d; i++) back[at + i] = this.rate[r] * (g[at + i] * a[i] - mean - scaled[at + i] * along);
    }
    return back;
  }
}

/** softmax(q kᵀ / √D) v over a prefix and its ancestors, then W_O; in the first layer, queries, keys and values are of rows. */
class Attention {
  constructor(model, name, onRows) {
    const { d_model: d, n_heads: H } = model.config, { N, T } = model.language;
    Object.assign(this, { d, H, T, onRows, qkv: new Linear(model, `${name}.qkv`, d, 3 * d), to: new Linear(model, `${name}.out`, d, d) });
    this.weights = new Float64Array(N * H * T);
    this.heads = new Float64Array(N * d);
    this.dqkv = new Float64Array(N * 3 * d);
    this.ds = new Float64Array(T);
  }

  forward(x, { n, nRows, nodePath, rowPath, depth }) {
    const { d, H, T, weights, heads, onRows } = this, D = d / H, scale = 1 / Math.sqrt(D), path = onRows ? rowPath : nodePath;
    const z = this.qkv.forward(x, onRows ? nRows : n);
    for (let r = 0, w = 0, o = 0; r < n; r++) {
      const first = r * T, seen = depth[r] + 1, q0 = path[first] * 3 * d;
      for (let h = 0; h < H; h++, w += T, o += D) {
        const q = q0 + h * D;
        let top = -Infinity, sum = 0;
        for (let j = 0; j < seen; j++) {
          const k = path[first + j] * 3 * d + d + h * D;
          let s = 0;
          for (let i = 0; i < D; i++) s += z[q + i] * z[k + i];
          weights[w + j] = s *= scale;
          if (s > top) top = s;
        }
        for (let j = 0; j < seen; j++) sum += weights[w + j] = Math.exp(weights[w + j] - top);
        for (let j = seen; j < T; j++) weights[w + j] = 0;
        for (let i = 0; i < D; i++) heads[o + i] = 0;
        for (let j = 0; j < seen; j++) {
          const v = path[first + j] * 3 * d + 2 * d + h * D, share = (weights[w + j] /= sum);
          for (let i = 0; i < D; i++) heads[o + i] += share * z[v + i];
        }
      }
    }
    return this.to.forward(heads, n);
  }

  /** dv += w · g and, with dw = g · v, ds = w · (dw − Σ w dw), dq += ds · k and dk += ds · q. */
  backward(g, { n, nRows, nodePath, rowPath, depth }) {
    const { d, H, T, weights, dqkv, ds, onRows } = this, D = d / H, scale = 1 / Math.sqrt(D), path = onRows ? rowPath : nodePath;
    const z = this.qkv.out, into = onRows ? nRows : n, y = this.to.backward(g, n);
    dqkv.fill(0, 0, into * 3 * d);
    for (let r = 0, w = 0, o = 0; r < n; r++) {
      const first = r * T, seen = depth[r] + 1, q0 = path[first] * 3 * d;
      for (let h = 0; h < H; h++, w += T, o += D) {
        const q = q0 + h * D;
        let mean = 0;
        for (let j = 0; j < seen; j++) {
          const v = path[first + j] * 3 * d + 2 * d + h * D, share = weights[w + j];
          let dw = 0;
          for (let i = 0; i < D; i++) {
            dw += y[o + i] * z[v + i];
            dqkv[v + i] += share * y[o + i];
          }
          ds[j] = dw;
          mean += share * dw;
        }
        for (let j = 0; j < seen; j++) {
          const k = path[first + j] * 3 * d + d + h * D, s = weights[w + j] * (ds[j] - mean) * scale;
          for (let i = 0; i < D; i++) {
            dqkv[q + i] += s * z[k + i];
            dqkv[k + i] += s * z[q + i];
          }
        }
      }
    }
    return this.qkv.backward(dqkv, into);
  }
}

/** Attention with all weights equal and no parameters: a running sum from the empty prefix down, over length + 1. */
class Average {
  constructor(model, onRows) {
    Object.assign(this, { d: model.config.d_model, T: model.language.T, onRows });
    for (const buffer of ["total", "out", "back"]) this[buffer] = new Float64Array(model.language.N * this.d);
  }

  forward(x, { n, row, depth, nodePath }) {
    const { d, T, total, out, onRows } = this;
    for (let r = 0; r < n; r++) {
      const from = (onRows ? row[r] : r) * d, parent = nodePath[r * T + 1] * d;
      for (let i = 0; i < d; i++) {
        total[r * d + i] = x[from + i] + (r > 0 ? total[parent + i] : 0);
        out[r * d + i] = total[r * d + i] / (depth[r] + 1);
      }
    }
    return out;
  }

  /** What reaches a running sum is its own share and what reaches those of its children, which come later. */
  backward(g, { n, nRows, row, depth, nodePath }) {
    const { d, T, total, back, onRows } = this;
    back.fill(0, 0, (onRows ? nRows : n) * d);
    for (let r = 0; r < n; r++) for (let i = 0; i < d; i++) total[r * d + i] = g[r * d + i] / (depth[r] + 1);
    for (let r = n - 1; r >= 0; r--) {
      const to = (onRows ? row[r] : r) * d, parent = nodePath[r * T + 1] * d;
      for (let i = 0; i < d; i++) {
        back[to + i] += total[r * d + i];
        if (r > 0) total[parent + i] += total[r * d + i];
      }
    }
    return back;
  }
}

/** W_2 ReLU(W_1 x). */
class FeedForward {
  constructor(model, name, d, f) {
    Object.assign(this, { f, keys: new Linear(model, `${name}.keys`, d, f), values: new Linear(model, `${name}.values`, f, d) });
  }

  get neurons() {
    return this.keys.out;
  }

  forward(x, n) {
    const y = this.keys.forward(x, n), size = n * this.f;
    for (let i = 0; i < size; i++) y[i] = Math.max(y[i], 0); // NaN stays, as it should
    return this.values.forward(y, n);
  }

  backward(g, n) {
    const y = this.neurons, dy = this.values.backward(g, n), size = n * this.f;
    for (let i = 0; i < size; i++) dy[i] = y[i] > 0 ? dy[i] : 0;
    return this.keys.backward(dy, n);
  }
}

/** x + mix(x), then x + ffn(x), with norms where the configuration wants them; what comes in may be rows. */
class Block {
  constructor(model, name, first) {
    const { d_model: d, variant, norm } = model.config, f = neuronsOf(model.config), { N } = model.language;
    const normed = (part) => new LayerNorm(model, `${name}.${part}`, d), mixes = variant !== "no_mixing", recalls = variant !== "attention_only";
    Object.assign(this, { d, onRows: first || !mixes, mix: null, ffn: null, normMix: null, normFfn: null, pre: norm === "pre", out: null });
    if (mixes) this.mix = variant === "ffn_only" ? new Average(model, first) : new Attention(model, `${name}.mix`, first);
    if (recalls) this.ffn = new FeedForward(model, `${name}.ffn`, d, f);
    if (norm !== "none" && mixes) this.normMix = normed("norm_mix");
    if (norm !== "none" && recalls) this.normFfn = normed("norm_ffn");
    this.joined = new Float64Array(N * d);
    this.summed = new Float64Array(N * d);
  }

  forward(x, layout) {
    const { d, joined, summed, normMix, normFfn, pre } = this, into = this.onRows ? layout.nRows : layout.n;
    if (this.mix) {
      const mixed = this.mix.forward(pre && normMix ? normMix.forward(x, into) : x, layout);
      for (let r = 0; r < layout.n; r++) {
        const from = (this.onRows ? layout.row[r] : r) * d;
        for (let i = 0; i < d; i++) joined[r * d + i] = x[from + i] + mixed[r * d + i];
      }
      x = !pre && normMix ? normMix.forward(joined, layout.n) : joined;
    }
    if (this.ffn) {
      const n = this.mix ? layout.n : into, recalled = this.ffn.forward(pre && normFfn ? normFfn.forward(x, n) : x, n);
      for (let i = 0; i < n * d; i++) summed[i] = x[i] + recalled[i];
      x = !pre && normFfn ? normFfn.forward(summed, n) : summed;
    }
    return (this.out = x);
  }

  backward(g, layout) {
    const { d, normMix, normFfn, pre } = this, into = this.onRows ? layout.nRows : layout.n;
    if (this.ffn) {
      const n = this.mix ? layout.n : into, y = !pre && normFfn ? normFfn.backward(g, n) : g;
      let x = this.ffn.backward(y, n);
      if (pre && normFfn) x = normFfn.backward(x, n);
      for (let i = 0; i < n * d; i++) x[i] += y[i];
      g = x;
    }
    if (this.mix) {
      const y = !pre && normMix ? normMix.backward(g, layout.n) : g;
      let x = this.mix.backward(y, layout);
      if (pre && normMix) x = normMix.backward(x, into);
      for (let r = 0; r < layout.n; r++) {
        const to = (this.onRows ? layout.row[r] : r) * d;
        for (let i = 0; i < d; i++) x[to + i] += y[r * d + i];
      }
      g = x;
    }
    return g;
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
    if (mixes && variant !== "ffn_only") linear(`${block}.mix.qkv`, d, 3 * d), linear(`${block}.mix.out`, d, d);
    if (recalls) linear(`${block}.ffn.keys`, d, f), linear(`${block}.ffn.values`, f, d);
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
    const { N } = this.language, sizes = { embedded: this.full.nRows * d, expanded: N * d, folded: N * d, logProbs: N * V, p: N * V, dLogits: N * V };
    for (const [name, length] of Object.entries(sizes)) this[name] = new Float64Array(length);
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
    const { neurons, f } = this.blocks[layer].ffn, { n, row, node } = this.layout, { V } = this.language, result = new Uint8Array(f).fill(1);
    for (let r = 0; r < n; r++) {
      if (edges !== null && !massOf(edges, node[r], V)) continue;
      const from = (this.blocks[layer].mix ? r : row[r]) * f;
      for (let j = 0; j < f; j++) if (neurons[from + j] > 0) result[j] = 0;
    }
    return result;
  }

  activity(edges) {
    const count = (flags) => flags.reduce((all, flag) => all + flag, 0), layers = this.blocks.flatMap(({ ffn }, l) => (ffn ? [l] : []));
    return layers.map((l) => ({ dead: count(this.silent(l)), unreached: count(this.silent(l, edges)), active: this.active(l, edges) }));
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
