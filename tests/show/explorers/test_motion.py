"""Chapter 13's explorer: what it packs of a model's way is what the measures say of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from traitlets import TraitError

from entropylens.experiments.looped_induction import SETTINGS
from entropylens.measures.navigation import budget, follow, potential_of
from entropylens.models.looped import LoopedConfig, LoopedTransformer
from entropylens.show.explorers.motion import QUANTITIES, MotionExplorer, along, motion_explorer
from entropylens.tasks.induction import Batch, sample
from entropylens.training.data import generator

LOOPS = 12


def looped(seed: int, pull: float, slope: float = 0.1) -> LoopedTransformer:
    config = LoopedConfig(
        16, n_loops=4, norm="pre", hint=True, update="hamiltonian", damping=0.5, pull=pull, slope=slope
    )  # fmt: skip
    return config.build(torch.Generator().manual_seed(seed)).double()


@pytest.fixture(scope="module")
def batch() -> Batch:
    return sample(replace(SETTINGS["hint"].task, scored="last"), 5, 12, generator(0, "evaluation"))


@pytest.fixture(scope="module")
def packed(batch: Batch) -> MotionExplorer:
    models = {name: [looped(seed, pull) for seed in (0, 1)] for name, pull in (("with F", 0.5), ("alone", 0.0))}
    return motion_explorer(models, batch, loops=LOOPS, sequences=3)


def test_energies_and_forces_are_those_of_the_path(batch: Batch) -> None:
    model = looped(0, 0.5)
    x = model.embed(batch.tokens).detach()
    path = follow(model, x, LOOPS)
    found = dict(zip(QUANTITIES, along(model, batch.tokens, batch.answers[:, -1], LOOPS).unbind(-1), strict=True))
    torch.testing.assert_close(found["potential"], path.energy[..., -1].T)
    torch.testing.assert_close(found["potential"] + found["kinetic"], path.total[..., -1].T)
    with torch.no_grad():
        pulls = [0.5 * (potential_of(model, x).block(z + x) - z)[:, -1] for z in path.states]
    slopes = [0.1 * potential_of(model, x).gradient(z)[:, -1] for z in path.states]
    torch.testing.assert_close(found["pull"], torch.stack([f.norm(dim=-1) for f in pulls], 1))
    torch.testing.assert_close(found["slope"], torch.stack([f.norm(dim=-1) for f in slopes], 1))
    cosines = [torch.cosine_similarity(f, s, dim=-1) for f, s in zip(pulls, slopes, strict=True)]
    torch.testing.assert_close(found["balance"], torch.stack(cosines, 1))
    said = model.read(path.states[-1][:, -1:])[:, 0].softmax(-1)[torch.arange(5), batch.answers[:, -1]]
    torch.testing.assert_close(found["answer"][:, -1], said.detach())


def test_at_the_start_the_energy_looks_everywhere_alike(batch: Batch) -> None:
    model = looped(1, 0.5)  # from Z = 0
    found = dict(zip(QUANTITIES, along(model, batch.tokens, batch.answers[:, -1], LOOPS).unbind(-1), strict=True))
    torch.testing.assert_close(found["row_e"][:, 0], torch.ones(5).double())
    assert (found["row_f"][:, 0] < 1).all()
    assert (found["kinetic"][:, 0] == 0).all()


def test_where_both_forces_hold_each_other_it_rests(batch: Batch) -> None:
    model = looped(0, 0.5)
    found = dict(zip(QUANTITIES, along(model, batch.tokens, batch.answers[:, -1], 300).unbind(-1), strict=True))
    rest = found["kinetic"][:, -1] < 1e-12
    assert rest.any()
    assert (found["balance"][rest, -1] > 0.999).all()
    torch.testing.assert_close(found["pull"][rest, -1], found["slope"][rest, -1], rtol=1e-3, atol=1e-5)


def test_without_a_pull_h_falls_as_the_budget_says(batch: Batch) -> None:
    model = looped(0, 0.0)
    x = model.embed(batch.tokens).detach()
    found = along(model, batch.tokens, batch.answers[:, -1], LOOPS)
    total = found[..., 0] + found[..., 1]
    assert (total.diff(dim=1) <= 1e-12).all()
    parts = sum(part[..., -1] for part in budget(model, x, follow(model, x, LOOPS)))
    torch.testing.assert_close(total.diff(dim=1), torch.as_tensor(parts).T)
    assert (found[..., QUANTITIES.index("pull")] == 0).all()


def test_models_are_packed_in_order(packed: MotionExplorer, batch: Batch) -> None:
    values = np.frombuffer(packed.values, np.float32).reshape(2, 2, 3, LOOPS + 1, len(QUANTITIES))
    own = along(looped(1, 0.0), batch.tokens[:3], batch.answers[:3, -1], LOOPS)
    np.testing.assert_allclose(values[1, 1], own.numpy(), rtol=1e-5, atol=1e-6)
    assert packed.dynamics == [["with F", 0.5, 0.5, 0.1], ["alone", 0.5, 0.0, 0.1]]
    assert repr(packed) == "Explorer (needs JavaScript): 2 dynamics, 2 models each, 3 sequences, 12 loops"


def test_nonsense_is_refused(packed: MotionExplorer, batch: Batch) -> None:
    packed.selected = {"loop": 7}
    assert packed.selected == {"dynamics": "with F", "model": 1, "sequence": 1, "loop": 7}
    wrong: list[dict[str, object]] = [
        {"dynamics": "plain"}, {"model": 3}, {"sequence": 0}, {"loop": 13}, {"loop": True}, {"token": 1},
    ]  # fmt: skip
    for values in wrong:
        with pytest.raises(TraitError, match=f"no {next(iter(values))} = .*; choose from "):
            packed.selected = values
    with pytest.raises(ValueError, match="as many models of each dynamics, got"):
        motion_explorer({"a": [looped(0, 0.5)], "b": []}, batch)
    broken = looped(0, 0.5)
    broken.token.data[0, 0] = torch.inf
    with pytest.raises(ValueError, match="not finite"):
        motion_explorer({"a": [broken]}, batch, loops=2)
