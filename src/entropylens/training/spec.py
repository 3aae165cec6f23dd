"""A population in words: everything that training depends on, as plain data that can be hashed, stored and sent.

The population, in fixed composition, is the unit that is computed, stored and verified: the numbers of a member do not
depend on its neighbours in principle, but their last bits may.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from entropylens.models.transformer import TransformerConfig
from entropylens.tasks.language import Language
from entropylens.tasks.targets import autoregressive_dirichlet, rule_pattern, shuffled, sparse_support, tilt_to_entropy
from entropylens.training.data import Data
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.population import Member, Run, train


@dataclass(frozen=True)
class TargetSpec:
    """A target distribution by name.

    Attributes:
        family: autoregressive, shuffled (an autoregressive one, dealt to the sentences anew), sparse, or a rule of
            `tasks.targets.RULES`.
        seed: draws it.
        concentration: of the Dirichlet weights.
        k: sentences in a sparse support.
        entropy: nats that it is tilted to, None leaves it.
    """

    family: str
    seed: int
    concentration: float = 0.5
    k: int = 500
    entropy: float | None = None

    def build(self, language: Language) -> Tensor:
        """p_tgt, (S,) float64; raises ValueError for an unknown family or an entropy out of reach."""
        if self.family in ("autoregressive", "shuffled"):
            p = autoregressive_dirichlet(language, concentration=self.concentration, seed=self.seed)
            p = shuffled(p, self.seed) if self.family == "shuffled" else p
        elif self.family == "sparse":
            p = sparse_support(language, self.k, concentration=self.concentration, seed=self.seed)
        else:
            p = rule_pattern(language, self.family, concentration=self.concentration, seed=self.seed)
        return p if self.entropy is None else tilt_to_entropy(p, self.entropy)


@dataclass(frozen=True)
class MemberSpec:
    """A member, with its target by name."""

    seed: int
    target: TargetSpec
    data: Data = field(default_factory=Data)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)


@dataclass(frozen=True)
class PopulationSpec:
    """What `train_spec` is to do; arguments as of `training.population.train`."""

    config: TransformerConfig
    members: tuple[MemberSpec, ...]
    steps: int
    snapshots: tuple[int, ...] = ()
    dtype: str = "float32"
    compiled: bool | None = None
    logged: bool = False
    sharpness_every: int = 0
    design: str = "main"
    """The part of an experiment that asks for it: a label for its rows, on which training does not depend."""

    def canonical(self) -> str:
        """JSON that two specifications share exactly if they ask for the same training.

        What is younger than the first published rows is part of it only where it is set.
        """
        asked = asdict(self)
        del asked["design"]
        for younger in ("logged", "sharpness_every"):
            if not asked[younger]:
                del asked[younger]
        return json.dumps(asked, sort_keys=True)

    def build_members(self) -> list[Member]:
        """The members with their targets drawn."""
        language = self.config.language
        return [Member(m.seed, m.target.build(language), m.data, m.optimizer) for m in self.members]

    def work(self) -> float:
        """Floating-point operations, roughly: what an estimate of seconds is scaled by.

        Whatever is not a matrix product costs the time of 45,000 operations at each position (measured, d = 8 … 64).
        """
        c = self.config
        per_position = c.n_layers * 2 * (4 * c.d_model**2 + 2 * c.d_model * c.n_neurons) + 4.5e4
        return 3.0 * per_position * c.language.n_nodes * len(self.members) * self.steps


def train_spec(spec: PopulationSpec, device: str = "cpu", progress: Callable[[int], None] | None = None) -> Run:
    """Train a population from its specification."""
    dtype = {"float32": torch.float32, "float64": torch.float64}[spec.dtype]
    return train(
        spec.config,
        spec.build_members(),
        steps=spec.steps,
        snapshots=spec.snapshots,
        device=device,
        dtype=dtype,
        compiled=spec.compiled,
        progress=progress,
        logged=spec.logged,
        sharpness_every=spec.sharpness_every,
    )
