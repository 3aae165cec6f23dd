// Targets, data, optimisers and measures for trie_model.js, as training/{data,optimizers}.py, tasks/targets.py and
// measures/distribution.py have them; the random numbers are others, from the same distributions. Goes behind trie_model.js.
//
//   new Random(seed, purpose)   independent streams: .uniform() in [0, 1), .normal(), .below(n), .logGamma(shape)
//   dirichletTarget(language, concentration, seed)   p_tgt (S): each conditional from a symmetric Dirichlet
//   edgesOf(language, p, out)   weights on sentences (S) to edges (N, V);  checkDistribution(language, p) throws a RangeError
//   sentenceLogProbs(language, logProbs, out)   log p of each sentence (S), from log p(symbol | prefix) of all prefixes
//   entropyOfEdges(language, edges)   H of the distribution on sentences, nats
//   compared(language, logProbs, target, seen)   exact, in nats, from two tables of edges; keys as measures.distribution.bias
//   new Data(language, target, data, seed)   target (S); data {regime, n_samples, batch_size} as training.data.Data:
//                              regime "exact" | "finite" | "fresh"
//     .targetEdges  .edges  .seen   (N, V): of p_tgt; this step's weights; what is trained on (a sample's p̂, or p_tgt)
//     .sample                  (n_samples) Int32Array of sentence numbers, of a finite sample
//     .advance()               draw the next step's weights, in place
//   new Optimizer(config, size, steps)   {name, lr, momentum, beta1, beta2, eps, weight_decay, final_lr} as OptimizerConfig;
//                              what is left out has OPTIMIZER's value; steps: how long final_lr's cosine takes
//     .step(theta, gradient)   one update in place;  .updates: how many were done
//   new Training({model, optimizer, data, target, seed, steps})   model: a configuration; draws initial parameters and data
//     .model .data .optimizer  what it is made of;  .updates
//     .step()                  one update; returns the loss before it, nats a sentence; not finite once training diverged
//     .measure()               the model as it is now: {...compared, loss, activity}, where loss is that of the next step

const OPTIMIZER = { name: "adam", lr: 1e-3, momentum: 0, beta1: 0.9, beta2: 0.999, eps: 1e-8, weight_decay: 0, final_lr: 1 };

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
  if (!(concentration > 0 && concentration < Infinity)) throw new RangeError(`a Dirichlet concentration is positive and finite, got ${concentration}`);
  const { N, S, V } = language, random = new Random(seed, "target"), logs = new Float64Array(N * V);
  for (let at = 0; at < N * V; at += V) {
    for (let v = 0; v < V; v++) logs[at + v] = random.logGamma(concentration);
    const row = logs.subarray(at, at + V), top = Math.max(...row), norm = top + Math.log(row.reduce((all, x) => all + Math.exp(x - top), 0));
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
  if (!(Math.abs(sum - 1) <= 1e-6)) throw new RangeError(`not a distribution: it sums to ${sum}, or an entry is negative or no number`);
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
  return {
    entropy, target_entropy: h, bias: entropy - h, lowering: h - entropy, sample_bias: hSeen - h, model_bias: entropy - hSeen,
    shortfall: Math.max(0, h - entropy), kl: klOfEdges(language, target, logProbs), excess_loss: klOfEdges(language, seen, logProbs),
  };
}

// ---- data --------------------------------------------------------------------------------------------------------------

const REGIMES = { exact: [], finite: ["n_samples"], fresh: ["batch_size"] };

class Data {
  constructor(language, target, { regime, n_samples = null, batch_size = null }, seed) {
    checkDistribution(language, target);
    if (!REGIMES[regime]) throw new RangeError(`unknown regime ${regime}; choose from ${Object.keys(REGIMES).join(", ")}`);
    const sizes = { n_samples, batch_size }, size = language.N * language.V;
    for (const name of REGIMES[regime]) if (!(Number.isInteger(sizes[name]) && sizes[name] >= 1)) throw new RangeError(`${regime} needs ${name}, a whole number from 1 on, got ${sizes[name]}`);
    if (regime === "finite" && batch_size > n_samples) throw new RangeError(`a batch of ${batch_size} cannot come from a sample of ${n_samples}`);
    Object.assign(this, { language, regime, batch: regime === "exact" ? null : batch_size, random: new Random(seed, "batches"), used: n_samples });
    this.targetEdges = edgesOf(language, target, new Float64Array(size));
    this.edges = this.seen = this.targetEdges;
    this.cumulative = new Float64Array(target.length);
    target.reduce((all, p, s) => (this.cumulative[s] = all + p), 0);
    if (regime === "finite") {
      const random = new Random(seed, "sample");
      this.sample = Int32Array.from({ length: n_samples }, () => this.draw(random));
      this.edges = this.seen = this.count(this.sample, 0, n_samples, new Float64Array(size));
    }
    if (this.batch === null) return;
    this.edges = new Float64Array(size);
    this.drawn = regime === "fresh" ? new Int32Array(this.batch) : this.sample.slice();
    this.advance();
  }

  /** A sentence from p_tgt: the first one whose cumulative probability is above a uniform number. */
  draw(random) {
    const { cumulative } = this, u = random.uniform() * cumulative[cumulative.length - 1];
    let low = 0, high = cumulative.length - 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (cumulative[middle] > u) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  /** Relative frequencies of the sentences `from` … `to` − 1 of a list, on the edges that they pass. */
  count(sentences, from, to, out) {
    const { T, V, start } = this.language;
    out.fill(0);
    for (let i = from; i < to; i++) {
      for (let t = T - 1, s = sentences[i]; t >= 0; t--, s = Math.floor(s / V)) out[start[t] * V + s]++;
    }
    for (let e = 0; e < out.length; e++) out[e] /= to - from;
    return out;
  }

  advance() {
    const { batch, drawn, random } = this;
    if (batch === null) return;
    if (this.regime === "fresh") {
      for (let i = 0; i < batch; i++) drawn[i] = this.draw(random);
      this.used = 0;
    } else if (this.used + batch > drawn.length) {
      for (let i = drawn.length - 1; i > 0; i--) { // an epoch; what does not fill a batch is left out
        const j = random.below(i + 1), other = drawn[j];
        drawn[j] = drawn[i];
        drawn[i] = other;
      }
      this.used = 0;
    }
    this.count(drawn, this.used, this.used + batch, this.edges);
    this.used += batch;
  }
}

// ---- optimisers --------------------------------------------------------------------------------------------------------

class Optimizer {
  constructor(config, size, steps = 1) {
    const known = Object.keys(RULES), c = { ...OPTIMIZER, ...config };
    if (!known.includes(c.name)) throw new RangeError(`unknown optimizer ${c.name}; choose from ${known.join(", ")}`);
    for (const [name, x] of Object.entries(c)) {
      const below = ["momentum", "beta1", "beta2"].includes(name) ? 1 : Infinity;
      if (name !== "name" && !(x >= 0 && x < below && (name !== "final_lr" || x <= 1))) throw new RangeError(`${name} is out of range: ${x}`);
    }
    Object.assign(this, { config: c, steps, updates: 0, first: new Float64Array(size), second: new Float64Array(size) });
  }

  /** The learning rate of the next update: a cosine from lr to lr · final_lr. */
  get rate() {
    const { lr, final_lr } = this.config, tau = Math.min(1, this.updates / Math.max(1, this.steps - 1));
    return lr * (final_lr + ((1 - final_lr) * (1 + Math.cos(Math.PI * tau))) / 2);
  }

  step(theta, gradient) {
    const lr = this.rate;
    this.updates++;
    RULES[this.config.name](this, theta, gradient, lr);
  }
}

/** Momentum: b ← μ b + g;  θ ← θ − η b. */
function sgd({ first, config: { momentum, weight_decay } }, theta, gradient, lr) {
  for (let i = 0; i < theta.length; i++) {
    first[i] = momentum * first[i] + (gradient[i] + weight_decay * theta[i]);
    theta[i] -= lr * first[i];
  }
}

/** Root mean square: v ← β₂ v + (1 − β₂) g²;  b ← μ b + g / (√v + ε);  θ ← θ − η b. */
function rmsprop({ first, second, config: { momentum, beta2, eps, weight_decay } }, theta, gradient, lr) {
  for (let i = 0; i < theta.length; i++) {
    const g = gradient[i] + weight_decay * theta[i];
    second[i] = beta2 * second[i] + (1 - beta2) * g * g;
    first[i] = momentum * first[i] + g / (Math.sqrt(second[i]) + eps);
    theta[i] -= lr * first[i];
  }
}

/** m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  θ ← θ − η m̂ / (√v̂ + ε). Weight decay is `added` to g, or θ is `shrunk`. */
function moments({ first, second, updates, config: { beta1, beta2, eps } }, theta, gradient, lr, added, shrunk) {
  const rate = lr / (1 - beta1 ** updates), unbias = 1 - beta2 ** updates;
  for (let i = 0; i < theta.length; i++) {
    const g = gradient[i] + added * theta[i];
    first[i] = beta1 * first[i] + (1 - beta1) * g;
    second[i] = beta2 * second[i] + (1 - beta2) * g * g;
    theta[i] = theta[i] * shrunk - (rate * first[i]) / (Math.sqrt(second[i] / unbias) + eps);
  }
}

const RULES = {
  sgd,
  rmsprop,
  adam: (state, theta, gradient, lr) => moments(state, theta, gradient, lr, state.config.weight_decay, 1),
  adamw: (state, theta, gradient, lr) => moments(state, theta, gradient, lr, 0, 1 - lr * state.config.weight_decay),
};

// ---- training ----------------------------------------------------------------------------------------------------------

class Training {
  constructor({ model, optimizer, data, target, seed, steps = 1 }) {
    this.model = new TrieModel(model);
    this.model.initialise(new Random(seed, "init").normal);
    this.data = new Data(this.model.language, target, data, seed);
    this.optimizer = new Optimizer(optimizer, this.model.theta.length, steps);
    this.layout = new Layout(this.model.language);
    this.layout.restrict(this.data.edges);
  }

  get updates() {
    return this.optimizer.updates;
  }

  /** Prefixes without weight in the loss are left out: no gradient comes from them. */
  step() {
    const { model, data, layout } = this, { edges } = data;
    if (data.batch !== null) layout.restrict(edges);
    model.forward(layout);
    const loss = model.loss(edges);
    model.backward(edges);
    this.optimizer.step(model.theta, model.gradient);
    data.advance();
    return loss;
  }

  measure() {
    const { model, data } = this, logProbs = model.forward();
    return { ...compared(model.language, logProbs, data.targetEdges, data.seen), loss: model.loss(data.edges), activity: model.activity(data.edges) };
  }
}
