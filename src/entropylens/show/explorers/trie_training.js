// Data, optimisers and a training for trie_model.js, as training/{data,optimizers,population}.py have them, for one model; the
// random numbers are others, from the same distributions.
//
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

// ---- data --------------------------------------------------------------------------------------------------------------

const REGIMES = {
  exact: { needs: [], allows: [] },
  finite: { needs: ["n_samples"], allows: ["n_samples", "batch_size"] },
  fresh: { needs: ["batch_size"], allows: ["batch_size"] },
};

/** Throws a RangeError if the regime lacks what it needs. */
function checkData(regime, sizes) {
  if (!REGIMES[regime]) throw new RangeError(`unknown regime ${regime}; choose from ${Object.keys(REGIMES).join(", ")}`);
  const { needs, allows } = REGIMES[regime], whole = (x) => Number.isInteger(x) && x >= 1;
  for (const [name, x] of Object.entries(sizes)) {
    if (x === null ? needs.includes(name) : !allows.includes(name)) throw new RangeError(`${regime} needs ${needs}, allows ${allows}`);
    if (x !== null && !whole(x)) throw new RangeError(`${name} is a whole number from 1 on, got ${x}`);
  }
  const { n_samples, batch_size } = sizes;
  if (n_samples !== null && batch_size > n_samples) throw new RangeError(`no batch of ${batch_size} in a sample of ${n_samples}`);
}

class Data {
  constructor(language, target, { regime, n_samples = null, batch_size = null }, seed) {
    checkData(regime, { n_samples, batch_size });
    checkDistribution(language, target);
    Object.assign(this, { language, regime, batch: regime === "exact" ? null : batch_size, used: n_samples });
    this.random = new Random(seed, "batches");
    const size = language.N * language.V;
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
      const below = ["momentum", "beta1", "beta2"].includes(name) ? 1 : Infinity, most = name === "final_lr" ? 1 : Infinity;
      if (name !== "name" && !(x >= 0 && x < below && x <= most)) throw new RangeError(`${name} is out of range: ${x}`);
    }
    Object.assign(this, { config: c, steps, updates: 0 });
    for (const moment of ["first", "second"]) this[moment] = new Float64Array(size);
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
    const measures = compared(model.language, logProbs, data.targetEdges, data.seen);
    return { ...measures, loss: model.loss(data.edges), activity: model.activity(data.edges) };
  }
}
