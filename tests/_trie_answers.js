// What the playground's engine makes of requests, in Node and in a browser; tests/_trie_model.py has the other side.

/** Of each case, one pass and its gradient, and its trainings. */
function answers(cases) {
  return cases.map(({ config, theta, target, data, trainings, steps }) => {
    const model = new TrieModel(config), { language } = model;
    const { edges, seen, targetEdges } = new Data(language, Float64Array.from(target), data, 0);
    model.theta.set(theta);
    const logProbs = model.forward(), silent = model.blocks.map(({ ffn }, l) => (ffn ? [...model.silent(l)] : []));
    model.backward(edges);
    return {
      shapes: model.shapes, edges: [...edges], target_edges: [...targetEdges], seen: [...seen],
      logits: [...model.logits], log_probs: [...logProbs], loss: model.loss(edges), activity: model.activity(edges), silent,
      gradient: Object.fromEntries(Object.entries(model.gradients).map(([name, g]) => [name, [...g]])),
      sentences: [...sentenceLogProbs(language, logProbs, new Float64Array(language.S))],
      measures: compared(language, logProbs, targetEdges, seen),
      trained: trainings.map((optimizer) => trained({ config, theta, target, data, optimizer, steps })),
    };
  });
}

/** A training from given parameters: the weights of its steps (only the first, if they stay), its losses, and its end. */
function trained({ config, theta, target, data, optimizer, steps }) {
  const training = new Training({ model: config, optimizer, data, target: Float64Array.from(target), seed: 0, steps });
  const tables = [], losses = [];
  training.model.theta.set(theta);
  for (let i = 0; i < steps; i++) {
    if (i === 0 || data.batch_size) tables.push([...training.data.edges]);
    losses.push(training.step());
  }
  return { tables, losses, theta: [...training.model.theta], entropy: training.measure().entropy };
}

/** Random numbers of each kind; request is a list of shapes for Gamma numbers. */
function draws(shapes) {
  const draw = (name, of, ...given) => {
    const random = new Random(7, name);
    return Array.from({ length: 4000 }, () => random[of](...given));
  };
  const other = new Random(8, "u").uniform(), gammas = shapes.map((shape) => draw("g", "logGamma", shape));
  return { uniform: draw("u", "uniform"), normal: draw("n", "normal"), below: draw("b", "below", 6), other, gammas };
}

/** A training with a target of its own: how it starts, and what 40 steps make of it. */
function started(request) {
  const { vocab_size, length } = request.model, target = dirichletTarget(trieLanguage(vocab_size, length), 0.5, 3);
  const training = new Training({ ...request, target }), { model, data } = training, before = training.measure();
  const start = Object.fromEntries(Object.entries(model.parameters).map(([name, x]) => [name, [...x]]));
  for (let i = 0; i < 40; i++) training.step();
  const { updates } = training, after = training.measure();
  return { start, before, after, updates, edges: [...data.edges], target: [...data.targetEdges], sample: [...data.sample] };
}

/** 40 steps' weights of each regime. */
function batches(regimes) {
  const language = trieLanguage(3, 3), target = dirichletTarget(language, 1, 0);
  return regimes.map((regime) => {
    const data = new Data(language, target, regime, 5), tables = [];
    for (let i = 0; i < 40; i++) {
      tables.push([...data.edges]);
      data.advance();
    }
    return { tables, seen: [...data.seen], target: [...data.targetEdges] };
  });
}

/** The names of the errors that faulty settings meet. */
function refused(cases) {
  const language = trieLanguage(2, 2), target = Float64Array.of(0.1, 0.2, 0.3, 0.4);
  const make = {
    TrieModel: (config) => new TrieModel(config),
    Optimizer: (config) => new Optimizer(config, 1),
    Data: (config) => new Data(language, target, config, 0),
    Language: ([V, T]) => trieLanguage(V, T),
    Target: (p) => new Data(language, p, { regime: "exact" }, 0),
  };
  return cases.map(([what, config]) => {
    try {
      make[what](config);
      return "none";
    } catch (error) {
      return error.name;
    }
  });
}
