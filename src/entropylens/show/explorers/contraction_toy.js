// One attention step on a few tokens in the plane, as measures/contraction.py has it: its derivative's exact norm, and bounds.
// Matrices are arrays of rows.

const sum = (values) => values.reduce((a, b) => a + b, 0);
const flip = (a) => a[0].map((_, j) => a.map((row) => row[j]));
const mul = (a, b) => a.map((row) => b[0].map((_, j) => sum(row.map((x, k) => x * b[k][j]))));
const entrywise = (f, ...all) => all[0].map((row, i) => row.map((_, j) => f(...all.map((a) => a[i][j]))));
const plus = (a, b) => entrywise((x, y) => x + y, a, b);
const times = (factor, a) => entrywise((x) => factor * x, a);
const frobenius = (a) => Math.hypot(...a.flat());

/** The largest eigenvalue of a symmetric matrix and its vector, by Jacobi's rotations: exact up to rounding. */
function largest(symmetric) {
  const a = symmetric.map((row) => [...row]), n = a.length, v = a.map((_, i) => a.map((_, j) => Number(i === j)));
  for (let sweep = 0, moved = true; moved && sweep < 60; sweep++) {
    moved = false;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) {
      if (Math.abs(a[p][q]) <= 1e-18 * Math.sqrt(Math.abs(a[p][p] * a[q][q]))) continue;
      moved = true;
      const half = (a[q][q] - a[p][p]) / (2 * a[p][q]), t = (half < 0 ? -1 : 1) / (Math.abs(half) + Math.hypot(half, 1));
      const c = 1 / Math.hypot(t, 1), s = t * c, turn = (x, y) => [c * x - s * y, s * x + c * y];
      for (const row of a) [row[p], row[q]] = turn(row[p], row[q]);
      [a[p], a[q]] = flip(a[p].map((x, k) => turn(x, a[q][k])));
      a[p][q] = a[q][p] = 0;
      for (const row of v) [row[p], row[q]] = turn(row[p], row[q]);
    }
  }
  const values = a.map((row, i) => row[i]), best = values.indexOf(Math.max(...values));
  return { value: values[best], vector: v.map((row) => row[best]) };
}

/** The spectral norm: of the smaller of the two products with the transpose, the root of the largest eigenvalue. */
function norm(a) {
  const b = a.length < a[0].length ? flip(a) : a;
  return Math.sqrt(Math.max(0, largest(mul(flip(b), b)).value));
}

/** The state Y and the head that are chosen; as `instance` in Python. */
function instance({ maps, values }, chosen) {
  const y = chosen.places.slice(0, chosen.tokens), angle = (chosen.turn * Math.PI) / 180, second = maps[chosen.map];
  const root = Math.sqrt(Math.abs(second)), across = Math.cos(angle), up = Math.sin(angle), other = values[chosen.values];
  const query = [[across, up * root], [-up, across * root]], key = [[1, 0], [0, Math.sign(second) * root]];
  const value = times(chosen.size / Math.hypot(1, other), [[1, 0], [0, other]]), scale = 1 / chosen.temperature;
  return { y, query, key, value, scale, m: times(scale, mul(query, flip(key))) };
}

/** S(Y), a row a token. */
function attention({ m }, y) {
  return mul(mul(y, m), flip(y)).map((logits) => {
    const most = Math.max(...logits), raised = logits.map((x) => Math.exp(x - most)), whole = sum(raised);
    return raised.map((x) => x / whole);
  });
}

const step = (head, y) => mul(attention(head, y), mul(y, head.value)); // F(Y)
const entropy = (row) => sum(row.map((share) => (share ? -share * Math.log(share) : 0))); // in nats
/** J u of each row: what a change u of its logits does to it. */
const bend = (s, u) => s.map((row, i) => {
  const mean = sum(row.map((share, j) => share * u[i][j]));
  return row.map((share, j) => share * (u[i][j] - mean));
});

/** DF(Y) by its parts: for each direction H that moves one number of Y, DS[H] Y W_V and S H W_V, as vectors. */
function derivative(head, y, s) {
  const v = mul(y, head.value), score = [], value = [];
  y.forEach((row, i) => row.forEach((_, k) => {
    const h = y.map((other, j) => other.map((_, l) => Number(i === j && k === l)));
    const u = plus(mul(mul(h, head.m), flip(y)), mul(mul(y, head.m), flip(h)));
    score.push(mul(bend(s, u), v).flat());
    value.push(mul(s, mul(h, head.value)).flat());
  }));
  return { score, value };
}

/** What the bounds allow, [score part, value part] each: as printed, in two readings, corrected, and ours. */
function allowed({ radius }, head, y, s, q) {
  const { query, key, value, m } = head, size = frobenius(value), scale = Math.abs(head.scale);
  const root = Math.hypot(...s.map((row) => sum(row.map((share) => share ** q)) ** (1 / q))), v = mul(y, value);
  const byEntropy = (constant, of) => [constant * scale * of(query) * of(key) * size, root * size];
  const own = s.map((row) => { // M C W_V of each token
    const mean = mul([row], y)[0], off = y.map((other) => other.map((x, k) => x - mean[k]));
    return norm(mul(mul(m, mul(flip(off), off.map((x, j) => x.map((each) => row[j] * each)))), value));
  });
  const b = s.map((row) => {
    const mean = mul([row], v)[0];
    return norm(v.map((other, j) => other.map((x, k) => row[j] * (x - mean[k]))));
  });
  const others = norm(mul(y, m).map((row, i) => row.map((x) => b[i] * x)));
  return {
    printed: byEntropy(2, norm), frobenius: byEntropy(2, frobenius),
    corrected: byEntropy(Math.max(radius, frobenius(y)) ** 2, norm), ours: [Math.max(...own) + others, norm(s) * norm(value)],
  };
}

/** ‖DF‖ and what each bound allows; `all`: also by parts, [score, value, both], and the direction that is stretched most. */
function sizes(toy, chosen, all = false) {
  const head = instance(toy, chosen), { y } = head, s = attention(head, y), parts = derivative(head, y, s);
  const both = plus(parts.score, parts.value), top = largest(mul(both, flip(both))); // rows are directions
  const exact = Math.sqrt(Math.max(0, top.value)), bounds = allowed(toy, head, y, s, chosen.q);
  const found = { exact, bounds: Object.fromEntries(Object.entries(bounds).map(([name, [score, value]]) => [name, [score, value, score + value]])) };
  if (!all) return found;
  const direction = y.map((_, i) => top.vector.slice(2 * i, 2 * i + 2));
  return { ...found, head, y, rows: s, exact: [norm(parts.score), norm(parts.value), exact], direction, size: frobenius(y) };
}

/** How far two starts are from each other after 0, 1, … loops, over how far they were; as `apart` in Python. */
function apart(toy, head, direction, residual) {
  const x = times(0.5, head.y), distances = [];
  let starts = [x, plus(x, times(toy.apart, direction))];
  while (distances.length <= toy.loops) {
    distances.push(frobenius(plus(starts[1], times(-1, starts[0]))) / toy.apart);
    starts = starts.map((z) => (residual ? plus(z, step(head, plus(x, z))) : step(head, plus(x, z))));
  }
  return distances;
}
