// A looped transformer of one head, Z ← Z + F(Z + X) from Z = 0, as models/looped.py has it, in doubles. No DOM.
//
// V, n, d, f  symbols, tokens, width of a state, neurons of the MLP. Matrices are arrays of rows.
// config      {causal, position_scale, shapes}; shapes are [name, rows, columns] of each parameter. Which norms there are, and
//             whether there is a hint and an MLP, is told by the names: what has no parameters is not there
//
//   new LoopedModel(config, theta)  theta holds all parameters, one after the other, in the order of the shapes
//     .embed(symbols)               X, (n, d)
//     .run(symbols, loops)          {states, rows}: Z_0 … Z_loops, (n, d) each, and attention in each loop, (n, n) each
//     .probabilities(z)             (V), the answer that is read from one token's state, (d)
//   placeToLookAt(symbols, at)      right after the latest earlier occurrence of the same symbol; 0 if there is none
//   distance(a, b)                  of two states, Euclidean

const NORM_EPS = 1e-5; // torch.nn.functional.layer_norm's

const plus = (a, b) => a.map((x, i) => x + b[i]);
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const through = (row, matrix) => matrix[0].map((_, j) => row.reduce((sum, x, i) => sum + x * matrix[i][j], 0));
const distance = (a, b) => Math.hypot(...a.map((x, i) => x - b[i]));
const placeToLookAt = (symbols, at) => (at ? symbols.lastIndexOf(symbols[at], at - 1) + 1 : 0);

/** Of logits; those of −∞ get nothing. */
function softmax(logits) {
  const most = Math.max(...logits), raised = logits.map((x) => Math.exp(x - most)), whole = raised.reduce((a, b) => a + b);
  return raised.map((x) => x / whole);
}

class LoopedModel {
  constructor({ causal, position_scale, shapes }, theta) {
    Object.assign(this, { causal, scale: position_scale, parameters: {} });
    let at = 0;
    for (const [name, rows, columns] of shapes)
      this.parameters[name] = Array.from({ length: rows }, () => [...theta.subarray(at, (at += columns))]);
  }

  embed(symbols) {
    const { token, previous } = this.parameters, d = token[0].length;
    const position = (at) => token[0].map((_, i) => this.scale * (i % 2 ? Math.cos : Math.sin)(at / 10_000 ** ((i - (i % 2)) / d)));
    return symbols.map((symbol, at) => {
      const x = plus(token[symbol], position(at));
      return previous ? plus(x, previous[at ? symbols[at - 1] : previous.length - 1]) : x; // the last row: nothing is before
    });
  }

  run(symbols, loops) {
    const x = this.embed(symbols), states = [x.map((row) => row.map(() => 0))], all = [];
    for (let loop = 0; loop < loops; loop++) {
      const z = states.at(-1), { rows, out } = this.block(z.map((row, i) => plus(row, x[i])));
      states.push(z.map((row, i) => plus(row, out[i])));
      all.push(rows);
    }
    return { states, rows: all };
  }

  probabilities(z) {
    return softmax(this.linear("unembed", this.norm("norm", z)));
  }

  /** F: attention, and what it is made into. */
  block(y) {
    const d = y[0].length, qkv = y.map((row) => through(this.norm("blocks.0.norm_in", row), this.parameters["blocks.0.qkv"]));
    const [q, k, v] = [0, d, 2 * d].map((from) => qkv.map((row) => row.slice(from, from + d)));
    const sees = (i, j) => !this.causal || j <= i;
    const rows = q.map((own, i) => softmax(k.map((other, j) => (sees(i, j) ? dot(own, other) / Math.sqrt(d) : -Infinity))));
    return { rows, out: rows.map((row) => this.norm("blocks.0.norm_out", this.mlp(through(row, v)))) };
  }

  mlp(u) {
    if (!("blocks.0.mlp.keys.weight" in this.parameters)) return u;
    const neurons = this.linear("blocks.0.mlp.keys", this.norm("blocks.0.norm_mid", u)).map((x) => Math.max(0, x));
    return plus(u, this.linear("blocks.0.mlp.values", neurons));
  }

  linear(name, row) {
    return plus(through(row, this.parameters[`${name}.weight`]), this.parameters[`${name}.bias`][0]);
  }

  norm(name, row) {
    const gain = this.parameters[`${name}.gain`]?.[0];
    if (!gain) return row;
    const bias = this.parameters[`${name}.bias`][0], mean = row.reduce((a, b) => a + b) / row.length, off = row.map((x) => x - mean);
    const size = Math.sqrt(dot(off, off) / row.length + NORM_EPS);
    return off.map((x, i) => (x / size) * gain[i] + bias[i]);
  }
}
