// Matrix products of doubles, row-major, and nothing else: nine tenths of a training step of trie_model.js are spent here.
// Each keeps 2 × 4 sums in registers, so that six reads serve eight multiplications; nothing is allocated.

/** out (n, q) = a (n, p) · w (p, q) + b (q). */
function product(out, a, w, b, n, p, q) {
  const wide = q - (q % 4);
  for (let r = 0; r < n; r += 2) {
    const last = Math.min(r + 1, n - 1), a0 = r * p, a1 = last * p, o0 = r * q, o1 = last * q; // an odd last row is done twice
    for (let j = 0; j < wide; j += 4) {
      let s0 = b[j], s1 = b[j + 1], s2 = b[j + 2], s3 = b[j + 3], t0 = s0, t1 = s1, t2 = s2, t3 = s3;
      for (let i = 0, at = j; i < p; i++, at += q) {
        const x = a[a0 + i], y = a[a1 + i], w0 = w[at], w1 = w[at + 1], w2 = w[at + 2], w3 = w[at + 3];
        s0 += x * w0; s1 += x * w1; s2 += x * w2; s3 += x * w3;
        t0 += y * w0; t1 += y * w1; t2 += y * w2; t3 += y * w3;
      }
      out[o0 + j] = s0; out[o0 + j + 1] = s1; out[o0 + j + 2] = s2; out[o0 + j + 3] = s3;
      out[o1 + j] = t0; out[o1 + j + 1] = t1; out[o1 + j + 2] = t2; out[o1 + j + 3] = t3;
    }
    for (let j = wide; j < q; j++) {
      let s = b[j], t = s;
      for (let i = 0, at = j; i < p; i++, at += q) {
        s += a[a0 + i] * w[at];
        t += a[a1 + i] * w[at];
      }
      out[o0 + j] = s;
      out[o1 + j] = t;
    }
  }
}

/** The gradient that reaches a: out (n, p) = g (n, q) · wᵀ, of w (p, q). */
function productBack(out, g, w, n, p, q) {
  const wide = p - (p % 4);
  for (let r = 0; r < n; r += 2) {
    const last = Math.min(r + 1, n - 1), g0 = r * q, g1 = last * q, o0 = r * p, o1 = last * p;
    for (let i = 0; i < wide; i += 4) {
      let s0 = 0, s1 = 0, s2 = 0, s3 = 0, t0 = 0, t1 = 0, t2 = 0, t3 = 0;
      for (let j = 0, k0 = i * q, k1 = k0 + q, k2 = k1 + q, k3 = k2 + q; j < q; j++) {
        const x = g[g0 + j], y = g[g1 + j], w0 = w[k0 + j], w1 = w[k1 + j], w2 = w[k2 + j], w3 = w[k3 + j];
        s0 += x * w0; s1 += x * w1; s2 += x * w2; s3 += x * w3;
        t0 += y * w0; t1 += y * w1; t2 += y * w2; t3 += y * w3;
      }
      out[o0 + i] = s0; out[o0 + i + 1] = s1; out[o0 + i + 2] = s2; out[o0 + i + 3] = s3;
      out[o1 + i] = t0; out[o1 + i + 1] = t1; out[o1 + i + 2] = t2; out[o1 + i + 3] = t3;
    }
    for (let i = wide; i < p; i++) {
      let s = 0, t = 0;
      for (let j = 0, k = i * q; j < q; j++) {
        s += g[g0 + j] * w[k + j];
        t += g[g1 + j] * w[k + j];
      }
      out[o0 + i] = s;
      out[o1 + i] = t;
    }
  }
}

const TILE = 64; // rows of a and g that stay in the cache while all sums over them are taken

/** The gradients of w and b, added to: dw (p, q) += aᵀ · g and db (q) += Σ g, of a (n, p) and g (n, q). */
function productOuter(dw, db, a, g, n, p, q) {
  const even = p - (p % 2), wide = q - (q % 4);
  for (let from = 0; from < n; from += TILE) {
    const to = Math.min(from + TILE, n);
    for (let i = 0; i < even; i += 2) {
      for (let j = 0; j < wide; j += 4) {
        let s0 = 0, s1 = 0, s2 = 0, s3 = 0, t0 = 0, t1 = 0, t2 = 0, t3 = 0;
        for (let r = from, x = from * p + i, y = from * q + j; r < to; r++, x += p, y += q) {
          const a0 = a[x], a1 = a[x + 1], g0 = g[y], g1 = g[y + 1], g2 = g[y + 2], g3 = g[y + 3];
          s0 += a0 * g0; s1 += a0 * g1; s2 += a0 * g2; s3 += a0 * g3;
          t0 += a1 * g0; t1 += a1 * g1; t2 += a1 * g2; t3 += a1 * g3;
        }
        const d0 = i * q + j, d1 = d0 + q;
        dw[d0] += s0; dw[d0 + 1] += s1; dw[d0 + 2] += s2; dw[d0 + 3] += s3;
        dw[d1] += t0; dw[d1 + 1] += t1; dw[d1 + 2] += t2; dw[d1 + 3] += t3;
      }
    }
    outerRest(dw, a, g, from, to, p, q, even, wide);
    for (let r = from; r < to; r++) for (let j = 0, y = r * q; j < q; j++) db[j] += g[y + j];
  }
}

/** What does not fill a block of 2 × 4. */
function outerRest(dw, a, g, from, to, p, q, even, wide) {
  for (let i = 0; i < p; i++) {
    for (let j = i < even ? wide : 0; j < q; j++) {
      let s = 0;
      for (let r = from; r < to; r++) s += a[r * p + i] * g[r * q + j];
      dw[i * q + j] += s;
    }
  }
}
