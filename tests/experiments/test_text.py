"""The experiments on text: populations, rows and what they promise, and what the rules find in planted ones."""

from __future__ import annotations

from dataclasses import replace
from types import ModuleType

import pandas as pd
import pytest
import torch
from torch import Tensor

from entropylens.experiments import EXPERIMENTS, gated_text, known_source, larger_text, real_text
from entropylens.experiments.language_models import RATES, labels, shape, shorter, some, spread
from entropylens.measures.estimates import forced
from entropylens.models.looped import LoopedConfig
from entropylens.models.transformer import Trace, TransformerConfig
from entropylens.results.claims import Claim, Rule, decide, load_claims
from entropylens.results.statistics import select
from entropylens.tasks.corpus import documentation
from entropylens.training.text import TextData, TextPopulation, TextSpec, source_of

MODULES = {m.EXPERIMENT.name: m for m in (known_source, real_text, gated_text, larger_text)}
CLAIMS = ["LE-q4", "LE-n1", "EER-f3"]
LABELS = {
    "design", "main", "d_model", "n_layers", "n_parameters", "origin", "regime", "n_symbols", "steps", "seen",
    "optimizer", "lr", "seed", "step", "final", "kind",
}  # fmt: skip
ON_ITS_WAY = {"cross_entropy", "forced", "overconfidence", "loss", "loss_forced"}
OWN = {"entropy", "entropy_half", "plain", "plain_half", "scale"}
COLUMNS: dict[str, dict[str, set[str]]] = {
    "known_source": {
        "model": ON_ITS_WAY | {"source", "kl", "forced_lowering"},
        "final": OWN | {"lowering"},
        "position": {"first", "last", "source", "cross_entropy", "forced", "entropy"},
    },
    "real_text": {
        "model": ON_ITS_WAY | {"validation", "validation_forced"},
        "final": OWN | {"context", "calibration_error"},
        "position": {"first", "last", "cross_entropy", "forced", "entropy", "surprise"},
        "bin": {"bin", "share", "confidence", "accuracy"},
        "layer": {"layer", "active", "silent"},
        "cut": {"even", "deaf", "ffn"},
    },
    "gated_text": {"model": {"arm", "cross_entropy", "fit", "forced", "overconfidence"}, "final": set()},
}
"""By experiment and kind, beside `LABELS`; `final` and `cut`: what only final rows of models and layers have."""


def rows_of(module: ModuleType, *specs: TextSpec) -> pd.DataFrame:
    """Of populations that are trained now."""
    return pd.concat([module.measure(spec, module.EXPERIMENT.train(spec, "cpu")[0]) for spec in specs])


def filled(rows: pd.DataFrame) -> set[str]:
    """Columns in which there is anything, beside labels."""
    return set(rows.columns[rows.notna().any()]) - LABELS


@pytest.fixture(scope="module")
def tables() -> dict[str, pd.DataFrame]:
    """A narrow population, quickly trained, of each regime or gate that is judged."""
    quick = {name: module.quick() for name, module in MODULES.items() if module is not larger_text}
    chosen = {"known_source": quick["known_source"][:2], "real_text": quick["real_text"][:2]}
    chosen["gated_text"] = quick["gated_text"][:2]
    return {name: rows_of(MODULES[name], *specs) for name, specs in chosen.items()}


# ---- populations -----------------------------------------------------------------------------------------------------


def judged(module: ModuleType, rule: Rule) -> list[list[TextSpec]]:
    """The specifications of the full profile that each contrast of a rule looks at."""
    sides = [rule.arm, *([] if rule.versus is None else [rule.versus])]
    conditions = [rule.primary, *([] if rule.second is None else [rule.second])]
    specs, found = module.full(), []
    names = []
    for spec in specs:
        (name, *_) = labels(spec, {"parameters": torch.zeros(1, 1, 1)})
        arm = {"arm": gated_text.arm_of(spec)} if isinstance(spec.config, LoopedConfig) else {}
        names.append({**name, **arm, "kind": "model"})
    for where in ({**side, **condition} for side in sides for condition in conditions):
        fits = [all(name.get(k) == v for k, v in where.items()) and name["main"] for name in names]
        found.append([spec for spec, fit in zip(specs, fits, strict=True) if fit])
    return found


@pytest.mark.parametrize("name", MODULES)
def test_populations_are_different_trainings(name: str) -> None:
    module = MODULES[name]
    assert EXPERIMENTS[name] is module.EXPERIMENT
    specs, quick = module.full(), module.quick()
    assert len({spec.canonical() for spec in specs}) == len(specs)
    assert [spec.design for spec in quick] == [spec.design for spec in specs]
    for spec, short in zip(specs, quick, strict=True):
        assert len(spec.members) in {5, 10}
        assert [m.seed for m in spec.members] == list(range(len(spec.members)))
        assert spec.kept[0] == 0
        assert (len(short.members), short.kept) == (2, [0, short.steps])
        assert short.steps <= 8
        assert short.config == spec.config


@pytest.mark.parametrize("name", CLAIMS)
def test_what_is_judged_has_ten_seeds(name: str) -> None:
    claim = claim_of(name)
    assert claim.rule is not None
    assert claim.experiment is not None
    module = MODULES[claim.experiment]
    assert name in module.EXPERIMENT.claims
    for specs in judged(module, claim.rule):
        assert [len(spec.members) for spec in specs] == [10]


def test_what_only_explores_has_five() -> None:
    for name in ("known_source", "real_text"):
        assert {len(spec.members) for spec in MODULES[name].full() if spec.design != "main"} == {5}
        assert {len(spec.members) for spec in MODULES[name].full() if spec.design == "main"} == {10}
    assert not any(spec.design == "main" for spec in larger_text.full())
    assert min(len(spec.members) for spec in larger_text.full()) == 5


def test_an_epoch_is_an_epoch() -> None:
    whole = real_text.arm(64, None, 1)
    n = sum(len(document.symbols) for document in documentation().train)
    seen = whole.steps * whole.batch_size * whole.length
    assert n - 2 * whole.batch_size * whole.length < seen <= n
    assert real_text.arm(64, real_text.SAMPLE, 1).steps == whole.steps
    assert real_text.arm(64, None, 1, epochs=4).steps == 4 * whole.steps
    assert 0.09 < real_text.SAMPLE / n < 0.11


def test_gates_are_told_apart() -> None:
    for name, kind in gated_text.ARMS.items():
        assert gated_text.arm_of(gated_text.arm(kind)) == name
    for name in ("entropy gate", "constant gate", "plain"):
        assert gated_text.arm_of(larger_text.gated(name)) == name
    strange = gated_text.arm(gated_text.Arm("gated", "sharp"))
    with pytest.raises(ValueError, match="no arm is like LoopedConfig"):
        gated_text.arm_of(strange)


def test_rivals_differ_in_their_gate_alone() -> None:
    ours, rival = (gated_text.arm(gated_text.ARMS[name]) for name in ("entropy gate", "constant gate"))
    assert isinstance(ours.config, LoopedConfig)
    assert replace(ours, config=replace(ours.config, gate="constant")) == rival
    deep, plain = (gated_text.arm(gated_text.ARMS[name]) for name in ("deep", "plain"))
    assert isinstance(deep.config, LoopedConfig)
    assert replace(deep.config, n_blocks=1) == plain.config


@pytest.mark.parametrize("d_model", RATES)
def test_heads_divide_the_width(d_model: int) -> None:
    config = shape(d_model, TextData("source"), 64)
    assert d_model // config.n_heads == (64 if d_model >= 256 else 16)
    assert (config.language.vocab_size, config.language.length) == (31, 64)


@pytest.mark.parametrize(
    ("steps", "expected"), [(1, (0, 1)), (81, (0, 1, 3, 9, 27, 81)), (1500, (0, 56, 167, 500, 1500))]
)
def test_snapshots_are_even_in_the_logarithm(steps: int, expected: tuple[int, ...]) -> None:
    assert spread(steps, 6 if steps == 81 else 5) == expected


def test_models_of_a_few_updates_are_read_on_less() -> None:
    spec = known_source.full()[1]
    assert some(spec, 1024) == 1024
    assert some(shorter(spec), 1024) == 64
    assert some(shorter(spec), 8) == 2


# ---- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COLUMNS)
def test_columns_are_those_that_are_told_of(tables: dict[str, pd.DataFrame], name: str) -> None:
    rows, columns = tables[name], COLUMNS[name]
    told = MODULES[name].measure.__doc__ or ""
    for column in set().union(*columns.values()) - {*columns.get("cut", set()), "bin", "layer"}:  # named by their kind
        assert f"`{column}`" in told, column
    assert set(rows["kind"]) == set(columns) - {"final", "cut"}
    assert rows[list(LABELS)].notna().all(axis=None)
    models = rows[rows["kind"] == "model"]
    for final, of in models.groupby("final"):
        assert filled(of) == columns["model"] | (columns["final"] if final else set())
        assert of[list(filled(of))].notna().all(axis=None)
    for kind in set(columns) & {"position", "bin"}:
        of = rows[rows["kind"] == kind]
        assert of["final"].all()
        assert filled(of) == columns[kind]
    if "layer" in columns:
        for final, of in rows[rows["kind"] == "layer"].groupby("final"):
            assert filled(of) == columns["layer"] | (columns["cut"] if final else set())


@pytest.mark.parametrize("name", COLUMNS)
def test_each_member_and_snapshot_has_a_row(tables: dict[str, pd.DataFrame], name: str) -> None:
    rows = tables[name]
    models = rows[rows["kind"] == "model"]
    cell = ["regime", "seed", "step", *(["arm"] if name == "gated_text" else [])]
    assert len(models) == 2 * 2 * 2
    assert not models.duplicated(cell).any()
    assert (models["final"] == (models["step"] == models["steps"])).all()
    assert (models["overconfidence"] - (models["cross_entropy"] - models["forced"])).abs().max() < 1e-12


def test_rows_of_a_source_fit_together(tables: dict[str, pd.DataFrame]) -> None:
    rows = tables["known_source"]
    models = rows[rows["kind"] == "model"]
    assert models["source"].to_numpy() == pytest.approx(source_of("documentation").entropy(64) / 64)
    assert (models["kl"] > 0).all()
    for column, parts in {"kl": ("cross_entropy", "source"), "forced_lowering": ("source", "forced")}.items():
        assert models[column].to_numpy() == pytest.approx((models[parts[0]] - models[parts[1]]).to_numpy())
    final = models[models["final"]]
    assert final["lowering"].to_numpy() == pytest.approx((final["source"] - final["entropy"]).to_numpy())
    assert ((final["entropy"] - final["plain"]).abs() < 4 * (final["plain_half"] + final["entropy_half"])).all()
    assert (final["entropy_half"] < final["plain_half"]).all()
    assert set(models["regime"]) == {"fresh", "finite"}
    assert models.groupby("regime")["n_symbols"].agg(["min", "max"]).loc["fresh"].tolist() == [0, 0]


@pytest.mark.parametrize(("name", "length"), [("known_source", 64), ("real_text", 128)])
def test_positions_make_up_a_window(tables: dict[str, pd.DataFrame], name: str, length: int) -> None:
    rows = tables[name]
    final = rows[rows["final"]].set_index(["regime", "seed"])
    at, models = final[final["kind"] == "position"], final[final["kind"] == "model"]
    for who, places in at.groupby(level=[0, 1]):
        assert places["first"].tolist() == [0, *(places["last"][:-1] + 1)]
        assert places["last"].iloc[-1] == length - 1
        many = places["last"] - places["first"] + 1
        for column in COLUMNS[name]["position"] - {"first", "last"}:
            whole = models.loc[who, "plain" if column == "surprise" else column]
            assert float((places[column] * many).sum() / length) == pytest.approx(float(whole)), column


def test_bins_and_layers_of_a_text(tables: dict[str, pd.DataFrame]) -> None:
    rows = tables["real_text"]
    final = rows[rows["final"]].set_index(["regime", "seed"])
    bins, models = final[final["kind"] == "bin"], final[final["kind"] == "model"]
    assert (bins.groupby(level=[0, 1])["share"].sum() - 1).abs().max() < 1e-12
    gap = (bins["share"] * (bins["confidence"] - bins["accuracy"]).abs()).groupby(level=[0, 1]).sum()
    assert gap.to_dict() == pytest.approx(models["calibration_error"].to_dict())
    layers = rows[rows["kind"] == "layer"]
    assert layers.groupby(["regime", "seed", "step"])["layer"].apply(list).tolist() == [[0, 1]] * 8
    assert layers[["active", "silent"]].apply(lambda shares: shares.between(0, 1)).all(axis=None)


def test_larger_models_get_the_rows_of_their_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in COLUMNS:
        monkeypatch.setattr(MODULES[name], "measure", lambda *_, name=name: name)
    found = [str(larger_text.measure(spec, {})) for spec in larger_text.full()]
    assert found == ["known_source"] * 5 + ["real_text"] * 3 + ["gated_text"] * 3


def test_who_fits_better_has_less_cross_entropy(tables: dict[str, pd.DataFrame]) -> None:
    rows = tables["gated_text"]
    assert (rows["fit"] == -rows["cross_entropy"]).all()
    assert set(rows["arm"]) == {"entropy gate", "constant gate"}
    assert (rows.groupby(["arm", "seed"])["cross_entropy"].agg(lambda x: x.iloc[-1] - x.iloc[0]) < 0).all()


def test_held_out_windows_are_all_or_some() -> None:
    documents, spec = documentation().validation, real_text.full()[0]
    every = real_text.held_out(spec, documents, everything=True)
    assert len(every) == sum(len(document.symbols) // 128 for document in documents)
    assert torch.equal(real_text.held_out(spec, documents), every[::8])
    few = real_text.held_out(shorter(spec), documents)
    assert 2 <= len(few) <= len(every) // 8 // 8


# ---- what is read out ------------------------------------------------------------------------------------------------


class Knowing(TextPopulation):
    """The source itself in the place of models, or a mixture of it and chance."""

    share = 1.0

    def log_probs(self, parameters: Tensor, windows: Tensor, _trace: Trace | None = None) -> Tensor:
        source = source_of("documentation")
        log_p = (self.share * source.conditionals(windows) + (1 - self.share) / 31).log()
        return log_p if windows.ndim == 3 else log_p.expand(len(parameters), *log_p.shape)


def test_of_the_source_itself_nothing_is_found() -> None:
    spec = known_source.quick()[0]
    knowing = Knowing(spec.config, [0, 1])
    read = known_source.read_out(spec, knowing, knowing.parameters, 32)
    for name in ("kl", "overconfidence", "forced_lowering"):
        assert read[name].shape == (2, 64)
        assert float(read[name].abs().max()) < 1e-12
    assert float((read["loss_forced"] - read["loss"]).abs().mean()) > 1e-3  # of what was drawn, there is noise


def test_differences_are_right_and_have_less_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    spec, source = known_source.quick()[0], source_of("documentation")
    models = Knowing(spec.config, [0])
    models.share = 0.9
    monkeypatch.setattr(
        known_source, "learned_from", lambda *_: forced(models, models.parameters, torch.zeros(1, 64).long())
    )
    found, plain = [], []
    for seed in range(100):
        monkeypatch.setattr(known_source, "EVALUATED", seed)
        found.append(known_source.read_out(spec, models, models.parameters, 16)["kl"].mean())
        windows = known_source.windows_of(spec, 16)
        read = forced(models, models.parameters, windows, source.conditionals)
        plain.append(read.expected.mean() - source.entropy(64) / 64)
    values, noisy = torch.stack(found), torch.stack(plain)
    joint = source.start[:, None] * source.table  # of a symbol and the two before it, anywhere
    exact = (joint * (source.table / (0.9 * source.table + 0.1 / 31)).log()).sum()
    begun = source.start.view(31, 31)
    ones, twos = begun.sum(1), begun / begun.sum(1, keepdim=True)
    first = (ones * (ones / (0.9 * ones + 0.1 / 31)).log()).sum()
    second = (begun * (twos / (0.9 * twos + 0.1 / 31)).log()).sum()
    truth = float((first + second + 62 * exact) / 64)
    for estimates in (values, noisy):
        assert abs(float(estimates.mean()) - truth) < 4 * float(estimates.std()) / 10
    assert float(values.std()) < 0.7 * float(noisy.std())


# ---- rules -----------------------------------------------------------------------------------------------------------


def claim_of(name: str) -> Claim:
    return load_claims()[name]


def grown(rows: pd.DataFrame, seeds: int = 10) -> pd.DataFrame:
    """The same rows for more seeds, as if of the width that is judged."""
    wide = {} if "arm" in rows else {"d_model": 128}
    first = rows[rows["seed"] == 0].assign(**wide)
    return pd.concat([first.assign(seed=seed) for seed in range(seeds)], ignore_index=True)


@pytest.mark.parametrize("name", CLAIMS)
def test_rules_find_their_columns_and_what_is_planted(tables: dict[str, pd.DataFrame], name: str) -> None:
    claim = claim_of(name)
    rule = claim.rule
    assert rule is not None
    assert claim.experiment is not None
    rows = grown(tables[claim.experiment])
    assert {*rule.arm, *rule.primary, rule.metric, "final", "main"} <= set(rows.columns)
    noise = rows["seed"] * 1e-4
    ours = rows.index.isin(select(rows, rule.arm).index)
    for shift, verdict in ((5.0, "supported"), (0.0, "refuted")):
        planted = rows.assign(**{rule.metric: noise * ours + shift * rule.smallest_effect * ours})
        assert decide(claim, planted).verdict == verdict
    assert decide(claim, rows[rows["seed"] < 4].assign(**{rule.metric: noise})).verdict == "inconclusive"


@pytest.mark.parametrize("name", ["LE-q4", "LE-n1"])
def test_a_claim_that_holds_for_samples_only_depends(tables: dict[str, pd.DataFrame], name: str) -> None:
    claim = claim_of(name)
    assert claim.rule is not None
    rows = grown(tables[str(claim.experiment)])
    seen_again = (rows["regime"] == "finite") * 1.0
    found = decide(claim, rows.assign(**{claim.rule.metric: seen_again + rows["seed"] * 1e-4}))
    assert found.verdict == "depends"
    assert "regime = finite" in found.condition


def test_variations_and_snapshots_decide_nothing(tables: dict[str, pd.DataFrame]) -> None:
    claim = claim_of("LE-q4")
    rows = grown(tables["known_source"]).assign(lowering=1.0)
    rows["lowering"] += rows["seed"] * 1e-4
    aside = rows.assign(lowering=-1.0, design="rate", main=False)
    early = rows.assign(lowering=-1.0, final=False)
    assert decide(claim, pd.concat([rows, aside, early], ignore_index=True)).verdict == "supported"


# ---- bad specifications ----------------------------------------------------------------------------------------------


def test_an_arm_that_there_is_not() -> None:
    with pytest.raises(ValueError, match="n_heads must be at least 1"):
        shape(8, TextData("source"), 64)
    with pytest.raises(ValueError, match="has less than the 17 windows of 64"):
        known_source.arm(64, 1000, 2)
    with pytest.raises(ValueError, match="the model has 64 positions, a window has 32"):
        replace(known_source.arm(64, None, 2), length=32)
    assert isinstance(known_source.arm(64, None, 2).config, TransformerConfig)
