"""Branches against the training that they leave, and against what each change promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from entropylens.models.layouts import TrieLayout
from entropylens.models.transformer import Trace, TransformerConfig
from entropylens.tasks.language import Language
from entropylens.tasks.targets import autoregressive_dirichlet
from entropylens.training.branches import Branch, Futures, follow, silent_neurons
from entropylens.training.data import Data
from entropylens.training.optimizers import OptimizerConfig, State
from entropylens.training.population import Member, Population, Run, rebuild, train

LANGUAGE = Language(3, 4)
TRIE = TrieLayout(LANGUAGE)
CONFIG = TransformerConfig(LANGUAGE, d_model=4, n_layers=2, d_ff=7)
TOTAL = 30
ADAM, MOMENTUM = OptimizerConfig("adam", lr=0.03, final_lr=0.1), OptimizerConfig("sgd", lr=0.02, momentum=0.9)
MEMBERS = [
    Member(seed, autoregressive_dirichlet(LANGUAGE, seed=seed), optimizer=rule)
    for seed, rule in enumerate([ADAM, MOMENTUM, ADAM])
]
NEURONS = torch.zeros(2, 7, dtype=torch.bool)
NEURONS[0, 2] = NEURONS[1, 5] = True


def trained(config: TransformerConfig = CONFIG, **fields: Any) -> Run:
    return train(config, MEMBERS, steps=TOTAL, dtype=torch.float64, logged=True, **fields)


def at_ten(run: Run) -> State:
    return run.checkpoints[10]


def go_on(run: Run, branches: list[Branch], steps: int = 8, **fields: Any) -> Futures:
    return follow(run.config, MEMBERS, at_ten(run), branches, steps, TOTAL, **fields)


@pytest.mark.parametrize("variant", ["full", "ffn_only", "no_mixing", "attention_only"])
def test_a_branch_that_changes_nothing_is_the_training_that_it_leaves(variant: str) -> None:
    config = replace(CONFIG, variant=variant)  # type: ignore[arg-type]
    run = trained(config, checkpoints=[10])
    futures = go_on(run, [Branch(m) for m in (2, 0, 1, 0)])
    torch.testing.assert_close(futures.losses, run.losses[10:18, [2, 0, 1, 0]], rtol=1e-12, atol=0)
    assert run.log is not None
    assert torch.equal(futures.log.dead, run.log.dead[10:18, [2, 0, 1, 0]])
    torch.testing.assert_close(futures.log.update_norm, run.log.update_norm[10:18, [2, 0, 1, 0]], rtol=1e-9, atol=0)
    assert futures.state.updates.tolist() == [18.0] * 4


def test_members_may_be_taken_up_at_different_steps() -> None:
    run = trained(checkpoints=[5, 10, 0])
    begun = State.join([run.checkpoints[k][[m]] for m, k in enumerate((5, 0, 10))])
    futures = follow(CONFIG, MEMBERS, begun, [Branch(m) for m in range(3)], 4, TOTAL)
    for member, step in enumerate((5, 0, 10)):
        torch.testing.assert_close(futures.losses[:, member], run.losses[step : step + 4, member], rtol=1e-12, atol=0)


def test_checkpoints_change_nothing_and_the_last_one_is_the_result() -> None:
    plain, kept = trained(), trained(checkpoints=[0, 10, TOTAL])
    assert torch.equal(plain.losses, kept.losses)
    assert torch.equal(kept.checkpoints[TOTAL].theta, plain.parameters)
    assert sorted(kept.checkpoints) == [0, 10, TOTAL]


def test_held_gates_leave_the_function_and_open_the_gradient() -> None:
    """At the checkpoint the loss is the same; later a held neuron is gate · drive, whatever its drive has become."""
    run = trained(checkpoints=[10])
    every = torch.ones_like(NEURONS)
    futures = go_on(run, [Branch(0), Branch(0, held=NEURONS), Branch(0, held=every)])
    first = futures.losses[0]
    torch.testing.assert_close(first, first[:1].expand(3), rtol=1e-12, atol=0)
    assert (futures.losses[-1, 1:] - futures.losses[-1, 0]).abs().min() > 1e-9
    at_start, at_end = (Trace(), Trace())
    rebuild(CONFIG, at_ten(run).theta[0])(TRIE, at_start)
    end = rebuild(CONFIG, futures.state.theta[2])

    class Held(Trace):
        def take(self, name: str, x: Tensor) -> Tensor:
            super().take(name, x)
            layer = len(self.neurons) - 1
            return (at_start.neurons[layer] > 0) * self.drives[-1] if name == "neurons" else x

    log_p = LANGUAGE.sentence_log_probs(end(TRIE, held := Held()).detach())
    end(TRIE, at_end)
    again = follow(CONFIG, MEMBERS, at_ten(run), [Branch(0, held=every)], 9, TOTAL)
    assert float(again.losses[-1, 0]) == pytest.approx(-float((MEMBERS[0].target * log_p).sum()), rel=1e-9)
    assert len(held.neurons) == len(at_end.neurons) == 2


def test_killed_neurons_are_gone_from_the_first_loss_on_and_stay_dead() -> None:
    run = trained(checkpoints=[10])
    futures = go_on(run, [Branch(0), Branch(0, killed=NEURONS)])
    model = rebuild(CONFIG, at_ten(run).theta[0])
    with torch.no_grad():
        for layer, neuron in NEURONS.nonzero().tolist():
            model.blocks[layer].ffn.values.weight[neuron] = 0  # type: ignore[union-attr,index]
    log_p = LANGUAGE.sentence_log_probs(model(TRIE).detach())
    assert float(futures.losses[0, 1]) == pytest.approx(-float((MEMBERS[0].target * log_p).sum()), rel=1e-12)
    more = futures.log.dead[:, 1].sum(-1) - futures.log.dead[:, 0].sum(-1)
    assert int(more[0]) == 2
    assert (futures.log.dead[:, 1] >= 1).all()


def test_nothing_is_silent_that_leaks() -> None:
    run = trained(replace(CONFIG, norm="none"), checkpoints=[10])
    futures = go_on(run, [Branch(m, leak=leak) for m in range(3) for leak in (0.0, 0.1)], steps=20)
    assert int(futures.log.dead[:, 1::2].sum()) == 0
    assert float((futures.losses[0, 1] - futures.losses[0, 0]).abs()) > 1e-6
    assert float(futures.log.active[:, 1::2].min()) > 0.99


def test_another_optimizer_takes_over_the_second_moment_or_drops_the_momentum() -> None:
    """With the same v̂ and another β₂, the next update divides by β₂ v̂ + (1 − β₂) g², in its own bias correction."""
    run = trained(checkpoints=[10])
    quick, plain = replace(ADAM, beta2=0.5), OptimizerConfig("sgd", lr=0.01)
    futures = go_on(run, [Branch(0), Branch(0, quick), Branch(0, plain)], steps=1)
    state = at_ten(run)
    lr = ADAM.lr * (0.1 + 0.9 * (1 + torch.cos(torch.tensor(torch.pi * 10 / (TOTAL - 1), dtype=torch.float64))) / 2)
    grad = (state.theta[0] - futures.state.theta[2]) / 0.01
    assert float(futures.log.grad_norm[0, 2]) == pytest.approx(float(grad.norm()), rel=1e-9)
    first = (0.9 * state.first[0] + 0.1 * grad) / (1 - 0.9**11)
    root = (state.second[0] / (1 - ADAM.beta2**10)).sqrt()
    v = (0.5 * (1 - 0.5**10) * root.square() + 0.5 * grad.square()) / (1 - 0.5**11)
    expected = state.theta[0] - lr * first / (v.sqrt() + 1e-8)
    torch.testing.assert_close(futures.state.theta[1], expected, rtol=1e-6, atol=1e-9)


def test_it_compiles_and_comes_to_the_same() -> None:
    run = trained(checkpoints=[10])
    branches = [Branch(0), Branch(1, held=NEURONS), Branch(2, killed=NEURONS), Branch(0, leak=0.1)]
    eager, compiled = (go_on(run, branches, steps=3, compiled=on) for on in (False, True))
    torch.testing.assert_close(eager.losses, compiled.losses, rtol=1e-9, atol=0)
    assert torch.equal(eager.log.dead, compiled.log.dead)


def test_the_silent_are_named() -> None:
    run, seen = trained(replace(CONFIG, norm="none"), checkpoints=[10]), []
    population = Population(run.config, [m.seed for m in MEMBERS], dtype=torch.float64)

    def look(_: int, there: Population, optimizer: Any) -> None:
        seen.append(silent_neurons(there, optimizer.theta, TRIE))

    futures = go_on(run, [Branch(m) for m in range(3)], each=look)
    assert torch.equal(torch.stack(seen).sum(-1).to(torch.int16), futures.log.dead)
    assert silent_neurons(population, at_ten(run).theta, TRIE).shape == (3, 2, 7)


@pytest.mark.parametrize(("branches", "steps", "data", "message"), [
    ([], 3, Data(), "needs branches"),
    ([Branch(0)], 0, Data(), "steps ≥ 1"),
    ([Branch(0)], 3, Data("fresh", batch_size=4), "stay the same"),
    ([Branch(3)], 3, Data(), r"members 0 … 2; got \[3\]"),
])  # fmt: skip
def test_what_makes_no_sense_is_refused(branches: list[Branch], steps: int, data: Data, message: str) -> None:
    state = trained(checkpoints=[10]).checkpoints[10]
    with pytest.raises(ValueError, match=message):
        follow(CONFIG, [replace(m, data=data) for m in MEMBERS], state, branches, steps, TOTAL)
