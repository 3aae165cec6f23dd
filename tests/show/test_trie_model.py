"""The playground's engine, in Node, against autograd, the package's optimisers and its measures."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from entropylens.models.transformer import TransformerConfig
from entropylens.show.explorers import engine
from entropylens.tasks.language import Language
from entropylens.tasks.targets import autoregressive_dirichlet
from entropylens.training.data import Data
from entropylens.training.optimizers import OptimizerConfig
from tests._trie_model import CASES, TRAININGS, Answer, Case, compare, compare_trained, in_node, passes


@pytest.fixture(scope="module")
def answers() -> dict[str, Answer]:
    got = in_node("answers", [passes(case).request() for case in CASES])
    return dict(zip(map(str, CASES), got, strict=True))


@pytest.fixture(scope="module")
def trained() -> dict[str, Answer]:
    got = in_node("answers", [case.request() for case in TRAININGS])
    return dict(zip(map(str, TRAININGS), got, strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_pass_is_autograd_s(case: Case, answers: dict[str, Answer]) -> None:
    compare(case, answers[str(case)])


def test_dead_and_unreached_neurons_are_among_the_cases(answers: dict[str, Answer]) -> None:
    layers = [layer for answer in answers.values() for layer in answer["activity"]]
    assert any(layer["dead"] > 0 for layer in layers)
    assert any(layer["unreached"] > layer["dead"] for layer in layers)


@pytest.mark.parametrize("case", TRAININGS, ids=str)
def test_every_optimizer_leads_where_the_package_s_leads(case: Case, trained: dict[str, Answer]) -> None:
    compare_trained(case, trained[str(case)])


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("s = weights[w + j] * (ds[j] - mean) * scale", "s = weights[w + j] * ds[j] * scale"),
        ("dqkv[k + i] += s * z[q + i];", "dqkv[k + i] += s * z[k + i];"),
        ("- mean - scaled[at + i] * along)", "- mean)"),
        ("variance / d + NORM_EPS", "variance / d + 1.01 * NORM_EPS"),
        ("dy[i] *= (y[i] > 0) | 0;", ""),
        ("if (r > 0) total[parent + i] += total[r * d + i];", ""),
        ("t0 += a1 * g0;", "t0 += a1 * g0 * (1 + 1e-9);"),
        ("mass * p[at + v] - edges[from + v]", "p[at + v] - edges[from + v]"),
        ("db[j] += g[y + j]", "db[j] = g[y + j]"),
    ],
)
def test_a_planted_fault_is_found(right: str, wrong: str) -> None:
    assert engine().count(right) == 1
    among = [case for case in map(passes, CASES[1:]) if case.config.norm == "pre" and case.config.d_model == 6]
    got = in_node("answers", [case.request() for case in among], engine().replace(right, wrong))
    found = 0
    for case, answer in zip(among, got, strict=True):
        try:
            compare(case, answer)
        except AssertionError:
            found += 1
    assert found > 0


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("const rate = lr / (1 - beta1 ** updates)", "const rate = lr / (1 - beta1 ** (updates + 1))"),
        ("0, 1 - lr * state.config.weight_decay", "state.config.weight_decay, 1"),
        ("g / (Math.sqrt(second[i]) + eps)", "g / Math.sqrt(second[i] + eps)"),
        ("Math.max(1, this.steps - 1)", "this.steps"),
    ],
)
def test_a_planted_fault_in_an_optimizer_is_found(right: str, wrong: str) -> None:
    assert engine().count(right) == 1
    case = TRAININGS[-1]
    (answer,) = in_node("answers", [case.request()], engine().replace(right, wrong))
    with pytest.raises(AssertionError, match="off by"):
        compare_trained(case, answer)


# ---- what is drawn at random, from fixed seeds -----------------------------------------------------------------------

_SHAPES = [0.05, 0.5, 1.0, 3.0]


def test_random_numbers_are_from_their_distributions() -> None:
    got = in_node("draws", _SHAPES)
    assert stats.kstest(got["uniform"], "uniform").pvalue > 0.001
    assert stats.kstest(got["normal"], "norm").pvalue > 0.001
    assert stats.chisquare(np.bincount(got["below"], minlength=6)).pvalue > 0.001
    assert abs(np.corrcoef(got["normal"][:-1], got["normal"][1:])[0, 1]) < 0.05
    for shape, logs in zip(_SHAPES, got["gammas"], strict=True):
        assert stats.kstest(logs, stats.loggamma(shape).cdf).pvalue > 0.001
    assert got["other"] != got["uniform"][0]


def test_a_training_starts_as_the_package_s_and_learns() -> None:
    config = TransformerConfig(d_model=16)
    shape = {"vocab_size": 5, "length": 5, "d_model": 16, "n_layers": 2, "n_heads": 2, "d_ff": None}
    request = {
        "model": {**shape, "variant": "full", "norm": "pre"},
        "optimizer": {"lr": 3e-3},
        "data": {"regime": "finite", "n_samples": 2000},
        "seed": 4,
    }
    got = in_node("started", request)
    for name, parameter in config.build(torch.Generator().manual_seed(0)).named_parameters():
        values, expected = np.array(got["start"][name]), parameter.detach().flatten().numpy()
        if expected.std() == 0:
            np.testing.assert_array_equal(values, expected)
        else:
            assert stats.ks_2samp(values, expected).pvalue > 1e-3
    assert got["updates"] == 40
    assert got["after"]["loss"] < got["before"]["loss"] - 1
    language = config.language
    sampled = language.edges(language.empirical(torch.tensor(got["sample"])))
    torch.testing.assert_close(torch.tensor(got["edges"]).reshape(sampled.shape), sampled.float())
    _is_dirichlet(torch.tensor(got["target"], dtype=torch.float64).reshape(sampled.shape), torch.tensor(got["sample"]))


def _is_dirichlet(edges: torch.Tensor, sample: torch.Tensor) -> None:
    """Conditionals as the package draws them, and a sample from them."""
    language = Language()
    ours = language.conditionals(autoregressive_dirichlet(language, seed=0)).flatten()
    theirs = (edges / edges.sum(-1, keepdim=True)).flatten()
    assert stats.ks_2samp(theirs.numpy(), ours.numpy()).pvalue > 1e-3
    expected = edges[language.level_starts[2] : language.level_starts[3]].flatten().numpy()
    counts = np.bincount(sample.numpy() // 25, minlength=125)
    assert expected[counts > 0].min() > 0
    assert np.abs(counts / 2000 - expected).sum() < 0.25  # √(2/π · 125 / 2000) if all were alike


def test_batches_are_of_the_target_and_an_epoch_is_the_sample() -> None:
    epochs, fresh = in_node(
        "batches", [{"regime": "finite", "n_samples": 20, "batch_size": 5}, {"regime": "fresh", "batch_size": 500}]
    )
    tables = np.array(epochs["tables"])
    for epoch in tables.reshape(10, 4, -1):
        np.testing.assert_allclose(epoch.mean(0), epochs["seen"], atol=1e-12)
    assert len(np.unique(tables[::4], axis=0)) > 5
    drawn = np.array(fresh["tables"])
    np.testing.assert_allclose(drawn.mean(0), fresh["target"], atol=5 * 0.5 / np.sqrt(20_000))
    np.testing.assert_allclose(drawn * 500, np.round(drawn * 500), atol=1e-9)
    np.testing.assert_allclose(drawn[:, :3].sum(1), 1)


# ---- what does not fit -----------------------------------------------------------------------------------------------

_PLAIN = {"vocab_size": 2, "length": 2, "d_model": 4, "n_layers": 1, "n_heads": 2, "variant": "full", "norm": "pre"}
_REFUSED: list[tuple[str, dict[str, Any], type]] = [
    *(("TrieModel", change, TransformerConfig) for change in (
        {"d_model": 0}, {"n_layers": 0}, {"n_heads": 3}, {"d_ff": 0}, {"variant": "mlp"}, {"norm": "batch"},
    )),
    *(("Optimizer", change, OptimizerConfig) for change in (
        {"name": "lion"}, {"lr": -1.0}, {"momentum": 1.0}, {"beta2": 1.0}, {"final_lr": 1.5}, {"eps": -1e-8},
    )),
    *(("Data", change, Data) for change in (
        {"regime": "all"}, {"regime": "exact", "n_samples": 3}, {"regime": "finite"},
        {"regime": "fresh", "batch_size": 0},
        {"regime": "fresh", "batch_size": 5, "n_samples": 5}, {"regime": "finite", "n_samples": 4, "batch_size": 5},
    )),
]  # fmt: skip


def test_what_the_package_refuses_is_refused() -> None:
    sent = [[what, {**_PLAIN, **change} if what == "TrieModel" else change] for what, change, _ in _REFUSED]
    more = [["Language", [0, 3]], ["Language", [30, 9]], ["Target", [0.5, 0.5]], ["Target", [0.5, 0.6, -0.1, 0.0]]]
    assert in_node("refused", [*sent, *more]) == ["RangeError"] * len([*sent, *more])
    assert in_node("refused", [["TrieModel", _PLAIN]]) == ["none"]
    for _, change, kind in _REFUSED:
        with pytest.raises(ValueError, match=r"\w"):
            kind(**change)
