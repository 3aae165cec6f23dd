"""The designs of claims 4b to 4d, and rows that say what they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from entropylens.experiments.experiment import artefact
from entropylens.experiments.spikes import (
    DTYPES,
    EXPERIMENT,
    OPTIMIZERS,
    POINTS,
    RATES,
    design,
    labels_of,
    measure,
    optimizer_name,
    traces,
)  # fmt: skip
from entropylens.training.spec import PopulationSpec, train_spec

SPECS, QUICK = (EXPERIMENT.populations[profile]() for profile in ("full", "quick"))


def test_no_cell_is_there_twice_every_arm_has_ten_seeds_and_every_step_is_logged() -> None:
    assert len({spec.canonical() for spec in SPECS}) == len(SPECS)
    assert all(len({member.seed for member in s.members}) == 10 and s.logged for s in SPECS)


@pytest.mark.parametrize("d_model", [16, 64])
def test_every_optimizer_has_its_grid_and_both_marks_are_on_it(d_model: int) -> None:
    for name, optimizer in OPTIMIZERS.items():
        rates = RATES[d_model, name]
        assert list(rates.grid) == sorted(rates.grid)
        assert {rates.edge, rates.matched} <= {*rates.grid, None if name == "sgd" else rates.edge}
        assert optimizer_name(optimizer) == name
        assert (rates.mark(rates.edge), rates.mark(7.0)) == ("edge", "")
        assert rates.matched is None or rates.mark(rates.matched) == "matched"
        here = [s for s in SPECS if s.design == "optimizers" and s.config.d_model == d_model]
        mine = [s for s in here if optimizer_name(s.members[0].optimizer) == name]
        assert sorted(s.members[0].optimizer.lr for s in mine) == list(rates.grid)
        probed = {s.members[0].optimizer.lr for s in mine if s.sharpness_every}
        assert probed == {rates.edge, *({rates.matched} - {None} if d_model == 16 else {})}


def test_variations_change_what_they_say() -> None:
    def found(name: str) -> list[PopulationSpec]:
        return [s for s in SPECS if s.design == name]

    second = {(m.optimizer.name, m.optimizer.beta2) for s in found("beta2") for m in s.members}
    assert second == {("adam", 0.9), ("adam", 0.99), ("rmsprop", 0.9), ("rmsprop", 0.999)}
    assert {m.optimizer.eps for s in found("eps") for m in s.members} == {1e-4}
    assert {s.config.norm for s in found("no norm")} == {"none"}
    assert {m.data.batch_size for s in found("minibatch") for m in s.members} == {256}
    assert {s.dtype for s in found("slingshot")} == set(DTYPES)
    assert {s.dtype for s in found("float64")} == {"float64"}
    assert {m.data.n_samples for s in found("slingshot") for m in s.members} == {200}
    assert {s.config.variant for s in found("parts")} == {"attention_only", "ffn_only"}
    assert {arm.design for arm in design()} == {s.design for s in SPECS}


@pytest.fixture(scope="module")
def trained() -> list[tuple[PopulationSpec, dict[str, torch.Tensor]]]:
    rare = [replace(s, sharpness_every=s.sharpness_every and 2 * s.sharpness_every) for s in QUICK]
    return [(spec, artefact(train_spec(spec))) for spec in rare]


def test_rows_say_which_model_it_is_and_what_happened(
    trained: list[tuple[PopulationSpec, dict[str, torch.Tensor]]],
) -> None:
    for spec, tensors in trained:
        rows = measure(spec, tensors)
        models, events = rows[rows["kind"] == "model"], rows[rows["kind"] == "event"]
        assert models["final"].sum() == len(models) == len(spec.members)
        assert (rows["final"] == (rows["kind"] == "model")).all()
        for _, model in models.iterrows() if spec.design == "optimizers" else ():
            mine = events[events["seed"] == model["seed"]]
            assert (mine["event"] == "spike").sum() == model["spikes"]
            assert (mine["event"] == "jump").sum() == model["jumps"]
        assert rows["main"].all()
        assert (models["kl"] > -1e-3).all()
        assert models["auc_sharpness"].notna().any() == bool(spec.sharpness_every)
        if spec.design != "optimizers":
            assert set(rows["kind"]) == {"model"}
            continue
        thresholds = rows[rows["kind"] == "threshold"]
        same = thresholds[(thresholds["varied"] == "factor") & (thresholds["value"] == 1.0)].set_index("seed")
        assert (same["spikes"] == models.set_index("seed")["spikes"]).all()


def test_published_traces_keep_the_peaks(trained: list[tuple[PopulationSpec, dict[str, torch.Tensor]]]) -> None:
    for spec, tensors in trained:
        thin = traces({**tensors, "losses": tensors["losses"].repeat_interleave(2, 0),
                       "dead": tensors["dead"].repeat_interleave(2, 0)})  # fmt: skip
        assert thin["loss"].shape == thin["dead"].shape == (len(spec.members), POINTS)
        torch.testing.assert_close(thin["loss"], tensors["losses"].T[:, : spec.steps])
        assert torch.equal(thin["dead"], tensors["dead"].sum(-1).T.to(torch.int16))


def test_a_sample_s_own_entropy_is_the_least_loss() -> None:
    """A finite sample can be learned by heart: its floor lies below the target's entropy."""
    (spec,) = [s for s in SPECS if s.design == "slingshot" and s.dtype == "float32"][:1]
    short = replace(spec, steps=POINTS, members=spec.members[:2])
    rows = measure(short, artefact(train_spec(short)))
    model = rows[rows["kind"] == "model"].iloc[0]
    assert model["n_samples"] == 200
    assert model["kl"] > 0
    assert labels_of(short, short.members[0])["dtype"] == "float32"
    assert np.isnan(model["auc_sharpness"])
