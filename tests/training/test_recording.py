"""The log of every step, against the same steps taken one at a time and looked at from outside."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from entropylens.experiments.experiment import artefact
from entropylens.models.layouts import TrieLayout
from entropylens.models.transformer import Trace, TransformerConfig
from entropylens.tasks.language import Language
from entropylens.tasks.targets import sparse_support
from entropylens.training import population
from entropylens.training.data import Data, batches, generator
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.population import Member, Run, rebuild, train
from entropylens.training.spec import MemberSpec, PopulationSpec, TargetSpec, train_spec

LANGUAGE = Language(3, 4)
TRIE = TrieLayout(LANGUAGE)
CONFIG = TransformerConfig(LANGUAGE, d_model=4, n_layers=2, d_ff=7, norm="none")
STEPS = 6


def members(data: Data) -> list[Member]:
    """At a step size that kills neurons; the sparse target leaves contexts that carry no weight."""
    adam = OptimizerConfig("adam", lr=0.1)
    return [Member(seed, sparse_support(LANGUAGE, 5, seed=seed), data, adam) for seed in (1, 2, 3)]


def trained(steps: int, data: Data, config: TransformerConfig = CONFIG, **fields: bool) -> Run:
    return train(config, members(data), steps=steps, dtype=torch.float64, **fields)  # type: ignore[arg-type]


def from_outside(
    theta: Tensor, config: TransformerConfig, table: Tensor
) -> tuple[list[int], list[int], list[float], float]:
    """Of one model, by counting contexts: dead and unreached neurons and the active share of each layer; and the
    gradient's norm."""
    model, trace = rebuild(config, theta), Trace()
    loss = -(table * model(TRIE, trace)).sum()
    gradient = torch.autograd.grad(loss, list(model.parameters()))
    dead, unreached, active = [], [], []
    for neurons in trace.neurons:
        fires = [{i for i, on in enumerate(context) if on > 0} for context in neurons.tolist()]
        there = [f for f, weights in zip(fires, table.tolist(), strict=True) if any(w > 0 for w in weights)]
        dead.append(neurons.shape[1] - len(set().union(*fires)))
        unreached.append(neurons.shape[1] - len(set().union(*there)))
        weights = [sum(w) for w in table.tolist()]
        share = [len(f) / neurons.shape[1] for f in fires]
        active.append(sum(w * s for w, s in zip(weights, share, strict=True)) / sum(weights))
    return dead, unreached, active, float(torch.cat([g.flatten() for g in gradient]).norm())


@pytest.mark.parametrize("data", [Data("exact"), Data("fresh", batch_size=3)])
@pytest.mark.parametrize("variant", ["full", "ffn_only", "no_mixing"])
def test_every_entry_is_that_of_the_parameters_before_the_update(data: Data, variant: str) -> None:
    config = replace(CONFIG, variant=variant)  # type: ignore[arg-type]
    run = trained(STEPS, data, config, logged=True)
    assert run.log is not None
    untrained = torch.stack([torch.nn.utils.parameters_to_vector(m.parameters()) for m in _untrained(config)])
    thetas = [untrained.detach().double(), *(trained(k, data, config).parameters for k in range(1, STEPS + 1))]
    streams = [batches(LANGUAGE, m.target, m.data, m.seed) for m in members(data)]
    for step in range(STEPS):
        for i, stream in enumerate(streams):
            table = LANGUAGE.edges(next(stream))
            dead, unreached, active, norm = from_outside(thetas[step][i], config, table)
            assert run.log.dead[step, i].tolist() == dead
            assert run.log.unreached[step, i].tolist() == unreached
            assert run.log.active[step, i].tolist() == pytest.approx(active, rel=1e-9)
            assert float(run.log.grad_norm[step, i]) == pytest.approx(norm, rel=1e-9)
            moved = float((thetas[step + 1][i] - thetas[step][i]).norm())
            assert float(run.log.update_norm[step, i]) == pytest.approx(moved, rel=1e-9)
    assert (run.log.unreached >= run.log.dead).all()
    assert int(run.log.unreached.max()) > 0


def _untrained(config: TransformerConfig) -> list[torch.nn.Module]:
    return [config.build(generator(m.seed, "init")) for m in members(Data("exact"))]


def test_logging_changes_nothing_that_is_trained() -> None:
    plain, logged = (trained(20, Data("exact"), logged=on) for on in (False, True))
    assert torch.equal(plain.losses, logged.losses)
    assert torch.equal(plain.parameters, logged.parameters)
    assert plain.log is None


def test_it_compiles_and_counts_the_same() -> None:
    eager, compiled = (trained(3, Data("exact"), logged=True, compiled=on) for on in (False, True))
    assert eager.log is not None
    assert compiled.log is not None
    assert torch.equal(eager.log.dead, compiled.log.dead)
    assert torch.equal(eager.log.unreached, compiled.log.unreached)
    torch.testing.assert_close(eager.log.update_norm, compiled.log.update_norm, rtol=1e-8, atol=0)


def test_a_model_without_an_ffn_has_no_layers_of_neurons() -> None:
    run = trained(2, Data("exact"), replace(CONFIG, variant="attention_only"), logged=True)
    assert run.log is not None
    assert run.log.dead.shape == (2, 3, 0)
    assert run.log.grad_norm.shape == (2, 3)


def test_a_specification_asks_for_it_and_an_old_key_stays_what_it_was() -> None:
    spec = PopulationSpec(CONFIG, (MemberSpec(0, TargetSpec("sparse", 0, k=5)),), steps=2)
    logged = replace(spec, logged=True)
    assert "logged" not in spec.canonical()
    assert logged.canonical() != spec.canonical()
    kept = artefact(train_spec(logged))
    wanted = {"dead", "unreached", "active", "grad_norm", "update_norm", "second", "losses", "parameters"}
    assert wanted <= kept.keys()
    assert not {"dead", "unreached"} & artefact(train_spec(spec)).keys()


def test_the_second_moment_is_what_adam_divides_by() -> None:
    """One step of Adam: v̂ is the squared gradient, and so is its sum; SGD has none."""
    run = trained(3, Data("exact"), logged=True)
    assert run.log is not None
    torch.testing.assert_close(run.log.second[0], run.log.grad_norm[0].square())
    one = replace(members(Data("exact"))[0], optimizer=OptimizerConfig("sgd", lr=0.1))
    plain = train(CONFIG, [one], steps=2, logged=True)
    assert plain.log is not None
    assert plain.log.second.tolist() == [[0.0], [0.0]]


def test_sharpness_is_logged_every_so_many_steps_and_changes_nothing() -> None:
    plain, probed = (trained(7, Data("exact"), sharpness_every=k) for k in (0, 3))
    assert torch.equal(plain.losses, probed.losses)
    assert plain.sharpness is None
    assert probed.sharpness is not None
    assert probed.sharpness.steps == [0, 3, 6]
    assert probed.sharpness.value[0].isnan().all()  # nothing has been divided by yet
    assert probed.sharpness.value[1:].isfinite().all()
    spec = PopulationSpec(CONFIG, (MemberSpec(0, TargetSpec("sparse", 0, k=5)),), steps=2)
    assert replace(spec, sharpness_every=1).canonical() != spec.canonical()
    assert {"sharpness_steps", "sharpness_value", "sharpness_error"} <= artefact(probed).keys()


def test_a_log_that_is_one_step_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = population.stack
    monkeypatch.setattr(population, "stack", lambda entries: right([entries[0], *entries[:-1]]))
    with pytest.raises(AssertionError):
        test_every_entry_is_that_of_the_parameters_before_the_update(Data("exact"), "full")
