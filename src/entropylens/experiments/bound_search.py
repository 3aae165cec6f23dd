"""Does the contraction bound hold as printed? Instances that satisfy its hypotheses, driven to where it is weakest.

What is "trained" here is an instance of the theorem: states and weights climb the ratio of ‖DF‖ to the bound.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import pandas as pd
import torch
from torch import Tensor

from entropylens.experiments.experiment import Experiment, Trained
from entropylens.measures.contraction import Norm
from entropylens.measures.contraction_search import search
from entropylens.training.parallel import count_steps

SIZES = ((2, 2), (3, 3), (4, 3), (8, 4))
"""Tokens and width."""
STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 16.0)
"""‖W_Q‖ ‖W_K‖ in the arms where it is given."""


@dataclass(frozen=True)
class Instances:
    """Which instances are searched; fields as in `contraction_search.search`."""

    n: int
    d: int
    norm: Norm
    q: float
    strength: float | None = None


@dataclass(frozen=True)
class SearchSpec:
    """Searches that differ in their seed alone.

    Attributes:
        config: which instances.
        members: the seeds.
        starts: of each search, in parallel.
        steps: of each start.
        design: a label.
    """

    config: Instances
    members: tuple[int, ...]
    starts: int = 64
    steps: int = 300
    design: str = "free"

    def canonical(self) -> str:
        """JSON that two specifications share exactly if they ask for the same searches."""
        asked = asdict(self)
        del asked["design"]
        return json.dumps(asked, sort_keys=True)

    def work(self) -> float:
        """Operations, roughly: a step of a start takes 0.1 ms and more (n = d = 2), with the Jacobian's SVD on top."""
        return (
            6e10 * len(self.members) * self.starts * self.steps * (1.2e-4 + 4e-9 * (self.config.n * self.config.d) ** 3)
        )


def run_searches(spec: SearchSpec, device: str) -> Trained:  # noqa: ARG001 - these are too small for any other
    """All searches of a specification, in double precision, on the processor whatever the device.

    Returns:
        `ratios` and `random`, (M, starts): the largest ‖DF‖ over the printed bound on the way from each start, and in
        as many random draws.
    """
    started = time.perf_counter()
    asked, found = asdict(spec.config), []
    for seed in spec.members:
        found.append(search(**asked, starts=spec.starts, evaluations=spec.starts * spec.steps, seed=seed))
        count_steps(spec.steps // len(spec.members))
    kept = {"ratios": torch.stack([s.ratios for s in found]), "random": torch.stack([s.random for s in found])}
    return kept, time.perf_counter() - started, False


def measure(spec: SearchSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """One row a search: its largest `ratio` and that of as many random draws; `holds`, whether none is above 1.

    A ratio of 1 is attained (‖W_Q‖ ‖W_K‖ = 0, two tokens), so that rounding is allowed for: 1e-9.
    """
    ratios = trained["ratios"].amax(-1)
    return pd.DataFrame(
        {
            "design": spec.design,
            "main": spec.design == "free" and (spec.config.n, spec.config.d) == SIZES[0],
            **asdict(spec.config),
            "starts": spec.starts,
            "evaluations": spec.starts * spec.steps,
            "seed": spec.members,
            "final": True,
            "ratio": ratios,
            "random": trained["random"].amax(-1),
            "holds": (ratios <= 1 + 1e-9).int(),
        }
    )


def populations(seeds: int, steps: int = 300) -> list[SearchSpec]:
    """Free strength at all sizes, for two orders of the entropy; and given strengths with two tokens."""
    members, norms = tuple(range(seeds)), ("spectral", "frobenius")
    free = [Instances(n, d, norm, q) for n, d in SIZES for norm in norms for q in (1.5, 2.0)]  # type: ignore[arg-type]
    given = [Instances(*SIZES[0], norm, 2.0, m) for norm in norms for m in STRENGTHS]  # type: ignore[arg-type]
    return [SearchSpec(i, members, steps=steps) for i in free] + [
        SearchSpec(i, members, steps=steps, design="given") for i in given
    ]


EXPERIMENT = Experiment(
    name="bound_search",
    claims=("EER-5",),
    populations={"quick": lambda: populations(2, steps=60), "full": lambda: populations(10)},
    measure=measure,
    train=run_searches,
)
