"""No tensor is left on the CPU where there is a GPU, and none is left on the GPU: shown without one, see `_devices`.

Every experiment is trained on the stand-in, as its quick profile is but for a few updates. Language models are measured
there, too. All other measures are given what was trained on the CPU, whatever it was trained on; that it is there is
tested here. Instances of the contraction bound (`bound_search`) are searched on the CPU by design.
"""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from types import FunctionType
from typing import Any

import pytest
import torch
from torch import Tensor

from entropylens.experiments import EXPERIMENTS, branching, known_source, language_models
from entropylens.experiments.experiment import Experiment, Trained, train_population
from entropylens.experiments.tuning import TunedSpec, train_tuned
from entropylens.measures import estimates
from entropylens.models import looped, windows
from entropylens.models.windows import Windows
from entropylens.show.explorers import raster
from entropylens.tasks.language import Language
from entropylens.training import optimizers, sharpness
from entropylens.training.data import Data
from entropylens.training.looped import LoopedSpec
from entropylens.training.spec import TargetSpec
from entropylens.training.text import TextSpec
from tests._devices import MixedDevices, Strict

ON_THE_CPU = {"bound_search"}
LANGUAGE = ("known_source", "real_text", "gated_text")
"""Experiments whose measures run where the models lie; `larger_text` has theirs."""

# ---- what a GPU refuses and what it allows ---------------------------------------------------------------------------

REFUSED: dict[str, Callable[[Tensor, Tensor], object]] = {
    "a sum": lambda there, here: there + here,
    "a product of matrices": lambda there, here: there @ here,
    "an arange without a device": lambda there, _: there * torch.arange(3),
    "a mask": lambda there, here: there.masked_fill(here > 0, 0.0),
    "rows that are put together": lambda there, here: torch.cat([there, here]),
    "an index from there": lambda there, here: here[there.long()],
    "values at an index": lambda there, here: there.__setitem__(torch.tensor([0, 1, 2]), here),
    "a gathered row": lambda there, here: there.gather(0, here.long()),
    "a number that is changed in place": lambda there, _: torch.ones(()).add_(there.sum()),
    "a number among rows": lambda there, _: torch.stack([there.sum(), torch.ones(())]),
    "random numbers": lambda there, _: torch.randn(3, generator=torch.Generator(), device=there.device),
    "random numbers in place": lambda there, _: there.normal_(generator=torch.Generator()),
}
ALLOWED: dict[str, Callable[[Tensor, Tensor], object]] = {
    "a number": lambda there, _: there + torch.ones(()),
    "a number to fill in": lambda there, _: there.masked_fill(there > 0, torch.ones(())),
    "an index": lambda there, _: there[torch.arange(2)],
    "a number at an index": lambda there, _: there.__setitem__(torch.tensor([0]), torch.ones(())),
    "a copy": lambda there, here: there.copy_(here),
    "a copy back": lambda there, here: here.copy_(there),
    "a number that is read": lambda there, _: [float(there.sum()), bool((there > 0).all()), there.cpu().tolist()],
}


def three() -> tuple[Tensor, Tensor]:
    return torch.ones(3, 3, device="meta"), torch.ones(3, 3)


@pytest.mark.parametrize("what", REFUSED)
def test_what_a_gpu_refuses(what: str) -> None:
    with Strict(), pytest.raises(MixedDevices, match=r"meta|generator"):
        REFUSED[what](*three())


@pytest.mark.parametrize("what", ALLOWED)
def test_what_a_gpu_allows(what: str) -> None:
    with Strict() as device:
        ALLOWED[what](*three())
    assert device.operators > 0


# ---- every experiment ------------------------------------------------------------------------------------------------


def brief(spec: Any) -> Any:
    """The same with two members, two updates, few loops and short sentences."""
    if isinstance(spec, TunedSpec):
        return replace(spec, training=brief(spec.training), others=(), rates=spec.rates[:1], trial_steps=5)
    if not hasattr(spec, "snapshots"):
        return replace(spec, starts=2, steps=2)
    spec = replace(spec, members=spec.members[:2], steps=2, snapshots=())
    if isinstance(spec, LoopedSpec):
        loops = max(2, spec.config.n_blocks)
        return replace(spec, batch_size=2, config=replace(spec.config, n_loops=loops))
    if isinstance(spec, TextSpec):
        return replace(spec, batch_size=2)
    config = replace(spec.config, language=Language(3, 3))
    small = [replace(m, target=TargetSpec("autoregressive", m.seed), data=fewer(m.data)) for m in spec.members]
    return replace(spec, config=config, members=tuple(small), sharpness_every=min(1, spec.sharpness_every))


def fewer(data: Data) -> Data:
    """The same regime with a few sentences."""
    return Data(data.regime, data.n_samples and 8, data.batch_size and 4)


def options(value: Any, path: str = "") -> Iterator[str]:
    """What a specification chooses: words, and whether numbers are zero; not what is drawn on the CPU."""
    if isinstance(value, dict):
        for name in value.keys() - {"seed", "target", "task"}:
            yield from options(value[name], f"{path}.{name}")
    elif isinstance(value, list):
        for each in value:
            yield from options(each, path)
    else:
        yield f"{path} {value != 0 if isinstance(value, int | float) else value}"


def trained_by(experiment: Experiment) -> Callable[[Any, str], Trained]:
    return experiment.train or train_population


def covering(experiments: Iterable[Experiment]) -> Iterator[tuple[Experiment, Any]]:
    """Specifications that choose, between them, all that those of the experiments choose; one of each at least."""
    seen: set[str] = set()
    for experiment in experiments:
        for spec in map(brief, experiment.populations["quick"]()):
            chosen = {experiment.name, type(spec.config).__name__, *options(json.loads(spec.canonical()))}
            if not chosen <= seen:
                seen |= chosen
                yield experiment, spec


TRAINERS = {trained_by(experiment) for experiment in EXPERIMENTS.values()} - {branching.train_branches}


@pytest.fixture(autouse=True)
def few_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharpness, "FIRST", 2)
    monkeypatch.setattr(sharpness, "LATER", 2)


@pytest.mark.parametrize("trainer", sorted(TRAINERS, key=lambda trainer: trainer.__name__), ids=lambda t: t.__name__)
def test_training_stays_on_one_device_and_gives_its_results_back(trainer: Callable[[Any, str], Trained]) -> None:
    for experiment, spec in covering(e for e in EXPERIMENTS.values() if trained_by(e) is trainer):
        with Strict() as device:
            kept, _, compiled = trainer(spec, "meta")
        assert {x.device.type for x in kept.values()} == {"cpu"}, spec
        assert bool(device.operators) is (experiment.name not in ON_THE_CPU)
        assert not compiled


def test_trials_stay_on_one_device() -> None:
    spec = EXPERIMENTS["energy_readings"].populations["quick"]()[0]
    spec = replace(brief(spec), rates=spec.rates[:2], seeds=spec.seeds[:1])
    with Strict():
        kept, _, _ = train_tuned(spec, "meta")
    assert kept["trials"].shape == (2, 1)


def test_branches_stay_on_one_device(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in's losses have no spikes to begin branches at: two places are given."""
    for name, value in {"GRID": 2, "LEAD": 1, "AFTER": 1}.items():
        monkeypatch.setattr(branching, name, value)
    found = [branching.Place(0, 3, calm=False), branching.Place(1, 4, calm=True)]
    monkeypatch.setattr(branching, "places", lambda _: found)
    (spec,) = EXPERIMENTS["interventions"].populations["quick"]()
    with Strict() as device:
        kept, _, _ = branching.train_branches(replace(spec, steps=6), "meta")
    assert {x.device.type for x in kept.values()} == {"cpu"}
    assert set(kept["way"].tolist()) == set(range(len(branching.WAYS)))
    assert device.operators > 0


@pytest.mark.parametrize("name", LANGUAGE)
def test_measuring_language_models_stays_on_one_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = brief(EXPERIMENTS[name].populations["quick"]()[0])
    if name != "gated_text":  # a model writes its texts symbol by symbol
        monkeypatch.setattr(known_source, "LENGTH", 8)
        spec = replace(spec, length=8, config=replace(spec.config, language=Windows(spec.data.vocab_size, 8)))
    kept, _, _ = language_models.train(spec, "cpu")
    monkeypatch.setattr(language_models, "pick_device", lambda _: "meta")
    with Strict() as device:
        rows = EXPERIMENTS[name].measure(spec, kept)
    assert len(rows) >= len(spec.members)
    assert device.operators > 0


def test_an_explorer_that_trains_stays_on_one_device() -> None:
    spec = brief(EXPERIMENTS["spikes"].populations["quick"]()[0])
    with Strict() as device:
        raster.watch(spec, "meta")
    assert device.operators > 0


# ---- planted ---------------------------------------------------------------------------------------------------------


class Forgetful(ast.NodeTransformer):
    """Takes the device from every call."""

    def visit_Call(self, node: ast.Call) -> ast.Call:
        node.keywords = [keyword for keyword in node.keywords if keyword.arg != "device"]
        return self.generic_visit(node)  # type: ignore[return-value]


def forgetful(function: FunctionType) -> FunctionType:
    """The same, as if whoever wrote it had not thought of devices."""
    function = inspect.unwrap(function)
    tree = Forgetful().visit(ast.parse(textwrap.dedent(inspect.getsource(function))))
    made: dict[str, Any] = {}
    exec(compile(ast.fix_missing_locations(tree), "planted", "exec"), function.__globals__, made)
    return made[function.__name__]


PLANTED = {
    "an arange of positions": (windows.WindowLayout, "__init__", "real_text"),
    "a mask of attention": (looped, "attention_rows", "looped_induction"),
    "an optimizer's counters": (optimizers.PopulationOptimizer, "__init__", "low_entropy"),
}


@pytest.mark.parametrize("what", PLANTED)
def test_a_forgotten_device_is_found(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, name, experiment = PLANTED[what]
    spec, train = brief(EXPERIMENTS[experiment].populations["quick"]()[0]), trained_by(EXPERIMENTS[experiment])
    monkeypatch.setattr(owner, name, forgetful(getattr(owner, name)))
    with Strict(), pytest.raises(MixedDevices):
        train(spec, "meta")


def test_a_forgotten_device_in_a_measure_is_found() -> None:
    spec = brief(EXPERIMENTS["known_source"].populations["quick"]()[0])
    population = language_models.population_of(spec)
    read = torch.zeros(2, spec.length, dtype=torch.int64)
    with Strict():
        estimates.scale(population, population.parameters.to("meta"), read)
        with pytest.raises(MixedDevices):
            forgetful(estimates.scale)(population, population.parameters.to("meta"), read)


def test_a_result_that_is_left_on_the_device_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = brief(EXPERIMENTS["looped_induction"].populations["quick"]()[0])
    monkeypatch.setattr(Tensor, "cpu", lambda x: x)
    with Strict():
        kept, _, _ = trained_by(EXPERIMENTS["looped_induction"])(spec, "meta")
    assert "meta" in {x.device.type for x in kept.values()}
