// The playground's training, behind the engine in a Web Worker: it trains in short turns, and listens in between.
//
//   is told {do: "make", run, settings} a new model; "go", "pause", "step"; {do: "tune", settings} rates that may change on the
//           way; "bench" to measure its speed
//   tells   {made: run, …} what does not change while it trains; {run, rows, step, clock, learned, ended}: one row of ROW for
//           some of the steps since the last time; {speeds}: steps a second; {failed}: words
// `settings` are the playground's own (playground.py), `run` is handed back, so that what is late can be told.

const ROW = ["step", "entropy", "kl", "loss", "least", "most", "dead"]; // least and most: of the losses since the row before
const TURN = 50, LOOK = 200; // ms: of a turn, which ends in telling; and between two looks at all sentences
const CEILING = 1000; // nats: a loss beyond has diverged, as measures/events.py has it
const LONGEST = 100_000; // steps, so that a forgotten tab does not train for ever
const DENSE = 20, SPACING = 1.04; // each of the first steps is measured, then in proportion
const LANGUAGE = { vocab_size: 5, length: 5 };

let run = 0, training = null, logs = null, decades = 0;
let going = false, waiting = false, due = 0, least = Infinity, most = -Infinity, looked = 0, ended = "";

const modelOf = ({ width, heads, layers, variant, norm }) => ({ ...LANGUAGE, d_model: width, n_heads: heads, n_layers: layers, d_ff: null, variant, norm });
const dataOf = ({ data, n, batch }) => ({ exact: { regime: "exact" }, finite: { regime: "finite", n_samples: n }, fresh: { regime: "fresh", batch_size: batch } })[data];
const optimizerOf = ({ optimizer, rate, beta2, momentum }) => ({ name: optimizer, lr: rate, beta2, momentum: optimizer === "adam" ? 0 : momentum });

/** Logarithms (nats) as bytes, as `as_bytes` in models.py has them. */
const asBytes = (logP) => Uint8Array.from(logP, (x) => Math.round(255 * Math.min(1, Math.max(0, 1 + x / (decades * Math.LN10)))));

function make(settings) {
  const language = trieLanguage(LANGUAGE.vocab_size, LANGUAGE.length), target = dirichletTarget(language, settings.concentration, settings.target);
  training = new Training({ model: modelOf(settings), optimizer: optimizerOf(settings), data: dataOf(settings), target, seed: settings.seed });
  logs = new Float64Array(language.S);
  [going, due, least, most, ended] = [false, 0, Infinity, -Infinity, ""];
  const { data: { targetEdges, seen, sample }, model } = training, times = sample ? new Uint8Array(language.S) : null;
  for (const sentence of sample ?? []) times[sentence] = Math.min(255, times[sentence] + 1);
  postMessage({
    made: run, rows: [measured()], learned: look(), truth: asBytes(target.map(Math.log)), seen: times, parameters: model.theta.length,
    targetEntropy: entropyOfEdges(language, targetEdges), seenEntropy: sample ? entropyOfEdges(language, seen) : null,
    neurons: settings.variant === "attention_only" ? 0 : settings.layers * neuronsOf(model.config),
  });
}

/** A row about the model as it is now. */
function measured() {
  const now = training.measure(), dead = now.activity.reduce((sum, layer) => sum + layer.dead, 0);
  const row = [training.updates, now.entropy, now.kl, now.loss, Math.min(least, now.loss), Math.max(most, now.loss), dead];
  [least, most] = [Infinity, -Infinity];
  due = training.updates < DENSE ? training.updates + 1 : Math.ceil(training.updates * SPACING);
  return row;
}

/** log pθ of all sentences, as measured last. */
function look() {
  looked = performance.now();
  return asBytes(sentenceLogProbs(training.model.language, training.model.logProbs, logs));
}

function advance() {
  const loss = training.step();
  least = Math.min(least, loss);
  most = Math.max(most, loss);
  if (!(loss <= CEILING)) ended = "diverged";
  else if (training.updates >= LONGEST) ended = "enough";
  if (ended) going = false;
}

/** Train until then, one step at least, and tell; measured are the steps that are due, and the last. */
function train(until) {
  const rows = [];
  for (let over = false; !over; ) {
    advance();
    over = ended !== "" || performance.now() >= until;
    if (over || training.updates >= due) rows.push(measured());
  }
  tell(rows, !going || performance.now() - looked > LOOK);
}

const tell = (rows, all) => postMessage({ run, rows, step: training.updates, clock: performance.now(), learned: all ? look() : null, ended });

/** Steps a second at two widths: exact data, Adam, after a moment in which the browser compiles. */
function bench() {
  const language = trieLanguage(LANGUAGE.vocab_size, LANGUAGE.length), data = { regime: "exact" };
  const speeds = [8, 32].map((width) => {
    const model = modelOf({ width, heads: 2, layers: 2, variant: "full", norm: "pre" });
    const trained = new Training({ model, optimizer: {}, data, target: dirichletTarget(language, 0.5, 0), seed: 0 });
    const stepsIn = (ms) => {
      const from = performance.now();
      let steps = 0, now = from;
      for (; now - from < ms; now = performance.now(), steps++) trained.step();
      return (1000 * steps) / (now - from);
    };
    stepsIn(400);
    return [width, stepsIn(1200)];
  });
  postMessage({ speeds });
}

const turns = new MessageChannel(); // timers would wait 4 ms each time
turns.port1.onmessage = () => {
  waiting = false;
  if (!going) return;
  tried(() => train(performance.now() + TURN));
  nextTurn();
};
function nextTurn() {
  if (going && !waiting) turns.port2.postMessage(0);
  waiting ||= going;
}

const ORDERS = {
  make(order) {
    ({ run, decades } = order);
    make(order.settings);
  },
  go() {
    going = ended === "";
    nextTurn();
  },
  pause() {
    going = false;
    tell([], true);
  },
  step() {
    going = false;
    if (!ended) train(0);
  },
  tune: ({ settings }) => Object.assign(training.optimizer.config, optimizerOf(settings)),
  bench,
};

/** Whatever goes wrong is told, and ends the training. */
function tried(act) {
  try {
    act();
  } catch (error) {
    going = false;
    postMessage({ failed: error.message });
  }
}
onmessage = ({ data }) => tried(() => ORDERS[data.do](data));
