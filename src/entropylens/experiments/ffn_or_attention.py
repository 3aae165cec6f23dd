"""Claim 2: is it the feed-forward network, and not attention, that takes a model below the entropy of its target?

Removing the FFN also removes two thirds of the parameters. So every variant is trained twice: at the full model's
width, and at a common number of parameters (± 2 %), that of the attention-only model which comes nearest to the full
one; to that the full model is resized, too, by a few neurons, where it lies further away. Targets have a sparse
support, as a summary of the paper suggests; a seed draws target, sample and initial parameters together, and arms are
paired on it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import get_args

import pandas as pd
import torch
from torch import Tensor

from entropylens.experiments.experiment import Experiment, final_log_probs
from entropylens.experiments.low_entropy import REGIMES, Grid
from entropylens.experiments.low_entropy import measure as measure_bias
from entropylens.measures.memory import leaked_mass, memorisation
from entropylens.models.transformer import Transformer, TransformerConfig, Variant
from entropylens.training.data import Data, finite_sample
from entropylens.training.spec import PopulationSpec

VARIANTS: tuple[Variant, ...] = get_args(Variant)
TOLERANCE = 0.02
"""Arms of equal parameters differ by this share at most."""
SAMPLE = REGIMES["finite 2000"]


@cache
def n_parameters(config: TransformerConfig) -> int:
    """Trainable numbers of a model."""
    return Transformer(config).n_parameters


def at_equal_width(full: TransformerConfig, variant: Variant) -> TransformerConfig:
    """A part of the full model is left out, and nothing is put in its place."""
    return replace(full, variant=variant)


def at_equal_parameters(full: TransformerConfig, variant: Variant) -> TransformerConfig:
    """A variant with the number of parameters that all arms of one size share.

    An attention-only model can grow in width only, in steps of its number of heads; so its nearest size to the full
    model is the one that all arms are brought to, the others by the number of FFN neurons. Where the full model is
    within `TOLERANCE` of it as it stands, it stays as it stands.

    Raises:
        ValueError: if no such model exists.
    """
    widths = range(full.n_heads, 4 * full.d_model, full.n_heads)
    attention_only = _nearest([replace(full, variant="attention_only", d_model=d) for d in widths], n_parameters(full))
    if variant == "attention_only":
        return attention_only
    wanted = n_parameters(attention_only)
    if variant == "full" and abs(n_parameters(full) / wanted - 1) <= TOLERANCE:
        return full
    found = _nearest([replace(full, variant=variant, d_ff=f) for f in range(1, 8 * full.d_model)], wanted)
    if abs(n_parameters(found) / wanted - 1) > TOLERANCE:
        raise ValueError(f"no {variant} model has {wanted} parameters within {TOLERANCE:.0%}")
    return found


def _nearest(configs: Sequence[TransformerConfig], wanted: int) -> TransformerConfig:
    return min(configs, key=lambda config: abs(n_parameters(config) - wanted))


MATCHES = {"width": at_equal_width, "parameters": at_equal_parameters}


Shape = tuple[tuple[str, object], ...]
"""Fields of `TransformerConfig` that differ from its defaults, and their values."""


@dataclass(frozen=True)
class Cells:
    """A block of the design: sizes × matches × variants × data.

    Attributes:
        design: label of the rows, without the match.
        sizes: d_model of the full models that set the size.
        matches: keys of `MATCHES`.
        variants: what is left of the model.
        data: regimes.
        family: of the target.
        grid: seeds, steps, snapshots and optimizer.
        shape: of the full models.
    """

    design: str
    sizes: tuple[int, ...]
    grid: Grid
    matches: tuple[str, ...] = ("parameters",)
    variants: tuple[Variant, ...] = VARIANTS
    data: tuple[Data, ...] = (SAMPLE,)
    family: str = "sparse"
    shape: Shape = ()

    def populations(self) -> Iterator[PopulationSpec]:
        """One population a size, match, variant and regime, with all seeds; its label ends in size and match."""
        for size in self.sizes:
            full = TransformerConfig(d_model=size, **dict(self.shape))  # type: ignore[arg-type]
            for match in self.matches:
                configs = {MATCHES[match](full, variant): None for variant in self.variants}
                for config in configs:
                    for data in self.data:
                        one = replace(self.grid, family=self.family, widths=(size,), regimes={"": data})
                        (spec,) = one.populations()
                        yield replace(spec, config=config, design=f"{self.design}/{size}/{match}")


def design(grid: Grid, sizes: tuple[int, ...], wide: int, middle: int, cheap: int) -> list[Cells]:
    """The main block, and around it what explores.

    Args:
        grid: seeds, steps, snapshots and optimizer of all blocks.
        sizes: of the main block.
        wide: the size that the rule is about; fresh data are tried there, too.
        middle: the size of the rule patterns and of the doses of FFN.
        cheap: the size at which our other choices are varied.
    """
    ends = replace(grid, n_snapshots=2)
    both, fresh = (SAMPLE, REGIMES["fresh"]), (REGIMES["fresh"],)
    two: tuple[Variant, ...] = ("attention_only", "ffn_only")
    doses: dict[str, Shape] = {f"dose {k}": (("d_ff", k * middle),) for k in (1, 2, 8)}
    choices: dict[str, Shape] = {
        "norm none": (("norm", "none"),), "1 layer": (("n_layers", 1),), "4 layers": (("n_layers", 4),),
    }  # fmt: skip
    rates = {"lr 1e-3": 1e-3, "lr 1e-2": 1e-2}
    return [
        Cells("main", sizes, grid, tuple(MATCHES)),
        Cells("fresh", (wide,), ends, variants=("full", *two), data=fresh),
        Cells("exact", (cheap,), ends, data=(REGIMES["exact"],)),
        Cells("rule", (middle,), ends, data=both, family="no_repeats"),
        Cells("dose 0", (middle,), ends, ("width",), ("attention_only",), fresh),
        Cells("dose 4", (middle,), ends, ("width",), ("full",), fresh),
        *(Cells(name, (middle,), ends, ("width",), ("full",), both, shape=shape) for name, shape in doses.items()),
        *(Cells(name, (cheap,), ends, variants=two, shape=shape) for name, shape in choices.items()),
        *(
            Cells(name, (cheap,), replace(ends, optimizer=replace(grid.optimizer, lr=lr)), variants=two)
            for name, lr in rates.items()
        ),
    ]


def populations(grid: Grid, sizes: tuple[int, ...], wide: int, middle: int, cheap: int) -> list[PopulationSpec]:
    """The whole experiment."""
    return [spec for cells in design(grid, sizes, wide, middle, cheap) for spec in cells.populations()]


def measure(spec: PopulationSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """The columns of claim 1, and: size, match, variant, n_layers, d_ff, lr; memorisation, nats, and leak, a share."""
    name, size, match = spec.design.split("/")
    rows = measure_bias(spec, trained)
    c, language, log_p = spec.config, spec.config.language, trained["log_probs"]
    remembered, leaked = torch.empty(2, *log_p.shape[:2], dtype=log_p.dtype)
    for i, member in enumerate(spec.build_members()):
        leaked[:, i] = leaked_mass(log_p[:, i], member.target)
        seen = member.target
        if member.data.n_samples is not None:
            seen = language.empirical(finite_sample(language, member.target, member.data.n_samples, member.seed))
        remembered[:, i] = memorisation(log_p[:, i], member.target, seen)
    shape = {"variant": c.variant, "n_layers": c.n_layers, "d_ff": 0 if c.variant == "attention_only" else c.n_neurons}
    labels = {"design": name, "main": name == "main", "size": int(size), "match": match, **shape}
    rates = [member.optimizer.lr for member in spec.members] * len(log_p)
    return rows.assign(**labels, lr=rates, memorisation=remembered.flatten().numpy(), leak=leaked.flatten().numpy())


EXPERIMENT = Experiment(
    name="ffn_or_attention",
    claims=("LE-2",),
    populations={
        "quick": lambda: populations(Grid(seeds=2, steps=20, n_snapshots=3), (8, 16), wide=16, middle=8, cheap=8),
        "full": lambda: populations(Grid(), (8, 16, 32, 64), wide=64, middle=32, cheap=16),
    },
    measure=measure,
    publishes=final_log_probs,
)
