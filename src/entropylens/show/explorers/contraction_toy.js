// One attention step on a few tokens in the plane, as measures/contraction.py has it: its derivative's exact norm, and bounds.
// Matrices are arrays of rows.

const sum = (values) => values.reduce((a, b) => a + b, 0);
const flip = (a) => a[0].map((_, j) => a.map((row) => row[j]));
const mul = (a, b) => a.map((row) => b[0].map((_, j) => sum(row.map((x, k) => x * b[k][j]))));
const entrywise = (f, ...all) => all[0].map((row, i) => row.map((_, j) => f(...all.map((a) => a[i][j]))));
const plus = (a, b) => entrywise((x, y) => x + y, a, b);
const times = (factor, a) => entrywise((x) => factor * x, a);
const frobenius = (a) => Math.hypot(...a.flat());

/** The largest eigenvalue of a positive semidefinite matrix and its vector, by Jacobi's rotations: exact up to rounding. */
function largest(symmetric) {
  const a = symmetric.map((row) => [...row]), n = a.length, v = a.map((_, i) => a.map((_, j) => Number(i === j)));
  const nothing = 1e-17 * sum(a.map((row, i) => row[i]));
  for (let sweep = 0, moved = true; moved && sweep < 60; sweep++) {
    moved = false;
    for (let p = 0; p < n; p++) for (let q = p + 1; q < n; q++) {
      if (Math.abs(a[p][q]) <= nothing) continue;
      moved = true;
      const half = (a[q][q] - a[p][p]) / (2 * a[p][q]), t = (half < 0 ? -1 : 1) / (Math.abs(half) + Math.sqrt(half * half + 1));
      const c = 1 / Math.sqrt(t * t + 1), s = t * c;
      const turn = (from, i, to, j) => { // two numbers, in place
        const x = from[i], y = to[j];
        from[i] = c * x - s * y;
        to[j] = s * x + c * y;
      };
      for (let k = 0; k < n; k++) turn(a[k], p, a[k], q);
      for (let k = 0; k < n; k++) turn(a[p], k, a[q], k);
      for (let k = 0; k < n; k++) turn(v[k], p, v[k], q);
      a[p][q] = a[q][p] = 0;
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
/** Of one row, ‖J‖ with J = diag(r) − rᵀr, how far its softmax can stretch, and two bounds on it: 2 max r(1 − r), and S₂(r). */
const softmax = (row) => ({
  norm: norm(row.map((x, i) => row.map((y, j) => (i === j ? x : 0) - x * y))),
  most: 2 * Math.max(...row.map((x) => x * (1 - x))), tsallis: 1 - sum(row.map((x) => x * x)),
});
/** J u of each row: what a change u of its logits does to it. */
const bend = (s, u) => s.map((row, i) => {
  const mean = sum(row.map((share, j) => share * u[i][j]));
  return row.map((share, j) => share * (u[i][j] - mean));
});

/** DF(Y) by its parts: for each number of Y, what its change does to DS[H] Y W_V and to S H W_V, as vectors. */
function derivative({ m, value: weights }, y, s) {
  const v = mul(y, weights), fromQuery = mul(y, flip(m)), fromKey = mul(y, m), score = [], value = [];
  y.forEach((place, a) => place.forEach((_, k) => {
    const u = s.map((row, i) => row.map((_, j) => (i === a ? fromQuery[j][k] : 0) + (j === a ? fromKey[i][k] : 0)));
    score.push(mul(bend(s, u), v).flat());
    value.push(s.flatMap((row) => weights[k].map((w) => row[a] * w)));
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

const normal = (random) => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
const anyOf = (values, random) => values[Math.floor(values.length * random())];

/** Places of which the first `tokens` satisfy the theorem's hypothesis; to four digits, rounded inwards. */
function inBall({ radius }, places, tokens) {
  const factor = Math.min(1, radius / frobenius(places.slice(0, tokens)));
  const inwards = (x) => Math.trunc(1e4 * Math.max(-radius, Math.min(radius, x))) / 1e4 + 0; // no −0
  return places.map((at, i) => at.map((x) => inwards(i < tokens ? factor * x : x)));
}

/** Another setting with as many tokens, at random, that satisfies the theorem's hypotheses; ‖Y‖_F is as large as they allow. */
function atRandom(toy, chosen, ends, random = Math.random) {
  const places = chosen.places.map((at) => at.map(() => normal(random))), between = ([low, high]) => low + (high - low) * random();
  const size = toy.radius / frobenius(places.slice(0, chosen.tokens));
  return {
    ...chosen, places: inBall(toy, times(size, places), chosen.tokens), temperature: 2 ** between(ends.temperature), turn: Math.round(between(ends.turn)),
    map: anyOf(Object.keys(toy.maps), random), values: anyOf(Object.keys(toy.values), random), size: 0.5,
  };
}

/**
 * So many small changes at random, each kept if it makes ‖DF‖ larger beside the printed bound. The temperature stays: most ways
 * up end where it is hot, at a ratio of 1, since both sides are the value part there.
 */
function climb(toy, chosen, steps, random = Math.random) {
  const height = (at) => ((found) => found.exact / found.bounds.printed[2])(sizes(toy, at));
  let best = { ...chosen, places: inBall(toy, chosen.places, chosen.tokens), size: Math.sign(chosen.size || 1) * Math.min(0.5, Math.abs(chosen.size) || 0.5) };
  for (let top = height(best), k = 0; k < steps; k++) {
    const stride = anyOf([0.5, 0.1, 0.02], random), nudge = () => stride * normal(random), turned = best.turn + 60 * nudge();
    const next = {
      ...best, places: inBall(toy, best.places.map((at) => at.map((x) => x + nudge())), best.tokens), turn: turned - 360 * Math.round(turned / 360),
      ...(random() < 0.1 ? { map: anyOf(Object.keys(toy.maps), random), values: anyOf(Object.keys(toy.values), random) } : {}),
    };
    const reached = height(next);
    if (reached > top) [best, top] = [next, reached];
  }
  return best;
}
