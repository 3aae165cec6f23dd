"""One request to the playground's engine and one answer, in Node and in a browser: what it must equal is computed here.

Shapes: P parameters, S sentences, N prefixes, V symbols, M optimisers.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from playwright._impl._driver import compute_driver_executable
from torch import Tensor

from entropylens.measures.distribution import bias, entropy_from_log
from entropylens.measures.neurons import silent
from entropylens.models.layouts import TrieLayout
from entropylens.models.transformer import FeedForward, Trace, Transformer, TransformerConfig
from entropylens.show.explorers import engine
from entropylens.tasks.language import Language
from entropylens.training.optimizers import OptimizerConfig, PopulationOptimizer
from entropylens.training.population import Population, make_step
from entropylens.training.recording import activity
from tests._reference import random_distribution, random_model

NODE = Path(compute_driver_executable()[0])
"""Comes with Playwright, so that nobody needs to install one."""
STEPS = 50
EXACT, TRAINED = 1e-10, 1e-8
"""The largest differences allowed in one pass, and after `STEPS`, relative to the largest entry of what is compared."""
ANSWERS = Path(__file__).with_name("_trie_answers.js").read_text(encoding="utf-8")
"""Functions from requests to answers; they go behind the engine."""

Answer = Mapping[str, Any]


@dataclass(frozen=True)
class Case:
    """A model, a target, what it is trained on, and by what."""

    config: TransformerConfig
    data: dict[str, Any]
    optimizers: tuple[OptimizerConfig, ...] = ()
    seed: int = 0

    def __str__(self) -> str:
        c, language = self.config, self.config.language
        shape = f"{language.vocab_size}^{language.length}-d{c.d_model}-h{c.n_heads}-l{c.n_layers}-f{c.n_neurons}"
        return f"{c.variant}-{c.norm}-{shape}-{self.data['regime']}"

    @property
    def model(self) -> Transformer:
        """One none of whose parameters has a special value; of each layer's neurons one is dead, others fire rarely."""
        model = random_model(self.config, self.seed)
        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, FeedForward):
                    module.keys.bias[0, :4] -= torch.tensor([50.0, 2.0, 3.0, 4.0])
        return model

    @property
    def theta(self) -> Tensor:
        """(P) its parameters, in the order of its state_dict."""
        return torch.nn.utils.parameters_to_vector(self.model.state_dict().values()).detach()

    @property
    def target(self) -> Tensor:
        """(S), with sentences that never occur."""
        return random_distribution(self.config.language.n_sentences, self.seed, zeros=0.3)

    def request(self) -> dict[str, Any]:
        """What is sent, as JSON."""
        config = asdict(self.config)
        return {
            "config": {**config.pop("language"), **config},
            "theta": self.theta.tolist(),
            "target": self.target.tolist(),
            "data": self.data,
            "trainings": [asdict(o) for o in self.optimizers],
            "steps": STEPS,
        }


# ---- what the engine must answer -------------------------------------------------------------------------------------


def compare(case: Case, answer: Answer) -> None:
    """AssertionError where a pass of the engine is not what autograd, and the package's measures, say."""
    language, model, edges = case.config.language, case.model, _table(case, answer["edges"])
    layout, trace, logits = TrieLayout(language), Trace(), list[Tensor]()
    model.unembed.register_forward_hook(lambda _module, _inputs, output: logits.append(output))
    log_probs = model(layout, trace)
    loss = -(edges * log_probs).sum()
    loss.backward()
    gradient = {name: p.grad for name, p in model.named_parameters()}
    assert [(name, (rows, columns)) for name, rows, columns in answer["shapes"]] == [
        (name, tuple(p.shape)) for name, p in model.state_dict().items()
    ]
    close("logits", answer["logits"], logits[0])
    close("log p", answer["log_probs"], log_probs)
    close("loss", [answer["loss"]], loss)
    largest = max(float(g.abs().max()) for g in gradient.values() if g is not None)
    assert list(gradient) == list(answer["gradient"])
    for name, g in gradient.items():  # that of a key's bias is 0 but for rounding: relative to what matters
        assert g is not None
        close(name, answer["gradient"][name], g, scale=max(1e-3 * largest, float(g.abs().max())))
    _compare_neurons(case, answer, trace, edges)
    _compare_measures(case, answer, log_probs.detach())


def _compare_neurons(case: Case, answer: Answer, trace: Trace, edges: Tensor) -> None:
    watched = activity(TrieLayout(case.config.language), edges.sum(-1)[None])
    for neurons in trace.neurons:
        watched.count(neurons[None])
    got = [[layer[name] for name in ("dead", "unreached", "active")] for layer in answer["activity"]]
    if watched.counts:
        close("dead, unreached and active", got, torch.stack(watched.counts)[:, 0])
    assert [layer for layer in answer["silent"] if layer] == [silent(n).int().tolist() for n in trace.neurons]


def _compare_measures(case: Case, answer: Answer, log_probs: Tensor) -> None:
    language, target = case.config.language, case.target
    log_p = language.sentence_log_probs(log_probs)
    seen = _table(case, answer["seen"])[language.level_starts[-2] :].flatten()  # what leaves the longest prefixes
    close("log p of sentences", answer["sentences"], log_p)
    close("edges of the target", answer["target_edges"], language.edges(target))
    close("edges of what is seen", answer["seen"], language.edges(seen))
    if case.data["regime"] != "finite":
        close("what is seen", seen.tolist(), target)
    for name, value in bias(log_p, target, seen).items():
        close(name, [answer["measures"][name]], value, scale=1.0)


def compare_trained(case: Case, answer: Answer) -> None:
    """AssertionError where training the engine's way does not lead where the package's own leads."""
    theta, layout = case.theta.repeat(len(case.optimizers), 1), TrieLayout(case.config.language)
    population = Population(case.config, [0] * len(theta), dtype=torch.float64)
    step = make_step(population, layout, PopulationOptimizer(case.optimizers, theta, STEPS), compiled=False)
    drawn = zip(*(training["tables"] for training in answer["trained"]), strict=True)
    tables = [torch.stack([_table(case, edges) for edges in at]) for at in drawn]
    losses = torch.stack([step(tables[min(i, len(tables) - 1)]) for i in range(STEPS)])
    log_p = case.config.language.sentence_log_probs(population.log_conditionals(theta, layout))
    entropies = entropy_from_log(log_p)
    for member, (config, got) in enumerate(zip(case.optimizers, answer["trained"], strict=True)):
        close(f"losses with {config}", got["losses"], losses[:, member], TRAINED)
        close(f"parameters after {config}", got["theta"], theta[member], TRAINED)
        close(f"entropy after {config}", [got["entropy"]], entropies[member], TRAINED)


def close(
    what: str, got: Sequence[Any], expected: Tensor, tolerance: float = EXACT, scale: float | None = None
) -> None:
    """Equal to a tolerance, relative to `scale`, or to the largest entry expected."""
    expected = expected.detach().flatten()
    difference = torch.tensor(got, dtype=torch.float64).flatten() - expected
    scale = float(expected.abs().max()) if scale is None else scale
    worst = float(difference.abs().max())
    assert worst <= tolerance * scale, f"{what}: off by {worst:.3g}, where values reach {scale:.3g}"


def _table(case: Case, edges: Sequence[float]) -> Tensor:
    return torch.tensor(edges, dtype=torch.float64).reshape(case.config.language.n_nodes, -1)


# ---- the cases, and Node ---------------------------------------------------------------------------------------------


def in_node(function: str, request: Any, source: str | None = None) -> Any:
    """What a function of `ANSWERS` makes of a request, with the engine, or another `source`, in front."""
    read = 'JSON.parse(require("fs").readFileSync(0, "utf8"))'
    code = f"{source or engine()}\n{ANSWERS}\nprocess.stdout.write(JSON.stringify({function}({read})));"
    done = subprocess.run(
        [NODE, "-e", code], input=json.dumps(request), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


OPTIMIZERS = (
    OptimizerConfig("sgd", lr=0.01),
    OptimizerConfig("sgd", lr=3e-3, momentum=0.9, weight_decay=0.01, final_lr=0.1),
    OptimizerConfig("rmsprop", lr=1e-3, momentum=0.5, beta2=0.99, eps=1e-3, weight_decay=0.02),
    OptimizerConfig("adam", lr=3e-3),
    OptimizerConfig("adam", lr=3e-3, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.1),
    OptimizerConfig("adamw", lr=5e-3, weight_decay=0.1, final_lr=0.0),
)
"""At rates at which training is stable: an unstable one amplifies rounding, by 10⁷ in 30 steps at η = 0.03."""
_FINITE = {"regime": "finite", "n_samples": 6}
_SMALL, _ODD = Language(2, 3), Language(3, 4)
LARGEST = Case(TransformerConfig(d_model=8), {"regime": "finite", "n_samples": 200}, OPTIMIZERS)
"""The paper's language."""
CASES = [
    LARGEST,
    *(
        Case(
            TransformerConfig(language, d_model=6, n_layers=n_layers, n_heads=n_heads, variant=variant, norm=norm), data
        )
        for variant, language, n_layers, data in [
            ("full", _ODD, 2, {"regime": "exact"}),
            ("attention_only", _SMALL, 2, _FINITE),
            ("ffn_only", _ODD, 2, _FINITE),
            ("no_mixing", _SMALL, 2, {"regime": "exact"}),
        ]
        for norm, n_heads in [("pre", 1), ("post", 2), ("none", 3)]
    ),
    Case(TransformerConfig(_SMALL, d_model=5, n_layers=1, n_heads=1, d_ff=7), {"regime": "fresh", "batch_size": 9}),
    Case(TransformerConfig(Language(3, 1), d_model=4, n_layers=1), {"regime": "exact"}),
    Case(TransformerConfig(Language(1, 3), d_model=3, n_heads=1), {"regime": "exact"}),
]
TRAININGS = [
    LARGEST,
    Case(TransformerConfig(_ODD, d_model=6, norm="post"), {"regime": "exact"}, OPTIMIZERS),
    Case(
        TransformerConfig(_SMALL, d_model=4, n_layers=1, variant="ffn_only"),
        {"regime": "fresh", "batch_size": 5},
        OPTIMIZERS,
    ),
    Case(
        TransformerConfig(_ODD, d_model=4, variant="no_mixing", norm="none"), {**_FINITE, "batch_size": 5}, OPTIMIZERS
    ),
    Case(TransformerConfig(_SMALL, d_model=4, n_layers=1, variant="attention_only"), _FINITE, OPTIMIZERS),
]


def passes(case: Case) -> Case:
    """The case without its trainings."""
    return replace(case, optimizers=())
