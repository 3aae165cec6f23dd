// Random numbers, target distributions, and what a model is like, exactly, as tasks/{language,targets}.py and
// measures/distribution.py have it. Letters as in trie_model.js.
//
//   new Random(seed, purpose)   independent streams: .uniform() in [0, 1), .normal(), .below(n), .logGamma(shape)
//   dirichletTarget(language, concentration, seed)   p_tgt (S): each conditional from a symmetric Dirichlet
//   edgesOf(language, p, out)   weights on sentences (S) to edges (N, V);  checkDistribution(language, p) throws a RangeError
//   sentenceLogProbs(language, logProbs, out)   log p of each sentence (S), from log p(symbol | prefix) of all prefixes
//   entropyOfEdges(language, edges)   H of the distribution on sentences, nats
//   compared(language, logProbs, target, seen)   exact, in nats, from two tables of edges; keys as measures.distribution.bias

// ---- random numbers ----------------------------------------------------------------------------------------------------

/** sfc32 (Doty-Humphrey), started from a hash of seed and purpose. */
class Random {
  constructor(seed, purpose) {
    this.state = Uint32Array.from([0x9e3779b9, 0x243f6a88, 0xb7e15162, 0x6a09e667], (start) => {
      let hash = start;
      for (const letter of `${purpose} ${seed}`) hash = Math.imul(hash ^ letter.codePointAt(0), 0x85ebca6b) ^ (hash >>> 13);
      return hash;
    });
    this.spare = NaN;
    this.normal = this.normal.bind(this);
    for (let i = 0; i < 20; i++) this.bits();
  }

  /** 32 random bits. */
  bits() {
    const s = this.state, result = (s[0] + s[1] + s[3]++) >>> 0, c = s[2];
    s[0] = s[1] ^ (s[1] >>> 9);
    s[1] = c + (c << 3);
    s[2] = ((c << 21) | (c >>> 11)) + result;
    return result;
  }

  uniform() {
    return ((this.bits() >>> 5) * 2 ** 26 + (this.bits() >>> 6)) / 2 ** 53;
  }

  /** A whole number from 0 to n − 1. */
  below(n) {
    return Math.floor(this.uniform() * n);
  }

  /** A standard normal number, by Box and Muller. */
  normal() {
    const spare = this.spare;
    this.spare = NaN;
    if (!Number.isNaN(spare)) return spare;
    const radius = Math.sqrt(-2 * Math.log(1 - this.uniform())), angle = 2 * Math.PI * this.uniform();
    this.spare = radius * Math.sin(angle);
    return radius * Math.cos(angle);
  }

  /** The logarithm of a Gamma(shape, 1) number, by Marsaglia and Tsang; small shapes give numbers too small for a double. */
  logGamma(shape) {
    if (shape < 1) return this.logGamma(shape + 1) + Math.log(1 - this.uniform()) / shape;
    const d = shape - 1 / 3, c = 1 / Math.sqrt(9 * d);
    for (;;) {
      const x = this.normal(), v = (1 + c * x) ** 3;
      if (v > 0 && Math.log(1 - this.uniform()) < 0.5 * x * x + d - d * v + d * Math.log(v)) return Math.log(d * v);
    }
  }
}

// ---- distributions -----------------------------------------------------------------------------------------------------

/** Every conditional p(· | prefix) drawn from a symmetric Dirichlet; p (S). */
function dirichletTarget(language, concentration, seed) {
  if (!(concentration > 0 && concentration < Infinity)) throw new RangeError(`a concentration is positive and finite, got ${concentration}`);
  const { N, S, V } = language, random = new Random(seed, "target"), logs = new Float64Array(N * V);
  for (let at = 0; at < N * V; at += V) {
    for (let v = 0; v < V; v++) logs[at + v] = random.logGamma(concentration);
    const row = logs.subarray(at, at + V), top = Math.max(...row);
    const norm = top + Math.log(row.reduce((all, x) => all + Math.exp(x - top), 0));
    for (let v = 0; v < V; v++) row[v] -= norm;
  }
  const p = sentenceLogProbs(language, logs, new Float64Array(S)).map(Math.exp), sum = p.reduce((all, x) => all + x, 0);
  return p.map((x) => x / sum);
}

/** Returns p if it is a distribution on the sentences. */
function checkDistribution({ S }, p) {
  if (p.length !== S) throw new RangeError(`a distribution on this language has ${S} entries, got ${p.length}`);
  let sum = 0;
  for (const x of p) sum += x >= 0 ? x : NaN;
  if (!(Math.abs(sum - 1) <= 1e-6)) throw new RangeError(`not a distribution: its sum is ${sum} (NaN: an entry is negative or none)`);
  return p;
}

/** Fold weights on sentences into the mass on every edge of the trie: an edge carries what leaves the prefix it leads to. */
function edgesOf({ N, T, V, start }, weights, out) {
  const longest = V * start[T - 1];
  for (let e = N * V - 1; e >= 0; e--) {
    out[e] = e >= longest ? weights[e - longest] : 0;
    if (e < longest) for (let v = 0; v < V; v++) out[e] += out[(e + 1) * V + v];
  }
  return out;
}

/** Chain rule: log p(symbol | prefix) to log p of every sentence. */
function sentenceLogProbs({ N, S, T, V, start }, logProbs, out) {
  const total = new Float64Array(N + S); // of each prefix, and behind them of each sentence: edge e leads to e + 1
  for (let n = 0; n < N; n++) for (let v = 0; v < V; v++) total[n * V + v + 1] = total[n] + logProbs[n * V + v];
  for (let s = 0; s < S; s++) out[s] = total[V * start[T - 1] + 1 + s];
  return out;
}

/** H = Σ over prefixes of their mass times the entropy of what follows. */
function entropyOfEdges({ N, V }, edges) {
  let h = 0;
  for (let at = 0; at < N * V; at += V) {
    const mass = massOf(edges, at / V, V);
    for (let e = at; e < at + V; e++) if (edges[e] > 0) h -= edges[e] * Math.log(edges[e] / mass);
  }
  return h;
}

/** H(pθ), by the chain rule. */
function entropyOfModel({ N, S, V }, logProbs) {
  const mass = new Float64Array(N + S);
  let h = 0;
  mass[0] = 1;
  for (let n = 0; n < N; n++) {
    for (let v = 0, e = n * V; v < V; v++, e++) {
      mass[e + 1] = mass[n] * Math.exp(logProbs[e]);
      h -= mass[e + 1] * logProbs[e];
    }
  }
  return h;
}

/** KL(edges‖pθ) = Σ edges · (log p(symbol | prefix) of the edges − log pθ). */
function klOfEdges({ N, V }, edges, logProbs) {
  let kl = 0;
  for (let at = 0; at < N * V; at += V) {
    const mass = massOf(edges, at / V, V);
    for (let e = at; e < at + V; e++) if (edges[e] > 0) kl += edges[e] * (Math.log(edges[e] / mass) - logProbs[e]);
  }
  return kl;
}

/** How pθ differs from its target and from what was seen; measures.distribution.bias says what each is. */
function compared(language, logProbs, target, seen) {
  const entropy = entropyOfModel(language, logProbs), h = entropyOfEdges(language, target), hSeen = entropyOfEdges(language, seen);
  const kl = klOfEdges(language, target, logProbs), excess_loss = klOfEdges(language, seen, logProbs);
  return {
    entropy, target_entropy: h, bias: entropy - h, lowering: h - entropy, sample_bias: hSeen - h, model_bias: entropy - hSeen,
    shortfall: Math.max(0, h - entropy), kl, excess_loss,
  };
}
