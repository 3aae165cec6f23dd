// The parts of trie_model.js's TrieModel; what the letters mean is said there. Each has `forward(x, n)`, and `backward(g, n)` from
// the gradient of what it gave to that of what it was given; where positions are mixed, a layout stands for n. They return
// buffers of their own, long enough for all prefixes, and add up the gradients of their parameters.

const NORM_EPS = 1e-5; // torch.nn.functional.layer_norm's

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
    for (let i = 0; i < size; i++) y[i] = 0.5 * (y[i] + Math.abs(y[i])); // a branch would often be guessed wrong
    return this.values.forward(y, n);
  }

  backward(g, n) {
    const y = this.neurons, dy = this.values.backward(g, n), size = n * this.f;
    for (let i = 0; i < size; i++) dy[i] *= (y[i] > 0) | 0;
    return this.keys.backward(dy, n);
  }
}

/** x + mix(x), then x + ffn(x), with norms where the configuration wants them; what comes in may be rows. */
class Block {
  constructor(model, name, first) {
    const { d_model: d, variant, norm } = model.config, f = neuronsOf(model.config), { N } = model.language;
    const mixes = variant !== "no_mixing", recalls = variant !== "attention_only";
    const normed = (part) => new LayerNorm(model, `${name}.${part}`, d);
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
