"""SGD with momentum, RMSprop, Adam and AdamW for a population: a row of parameters and of settings each.

The update rules are those of `torch.optim`, to which the tests hold them step for step. Shapes: M members, P parameters
of one member; hyper-parameters are columns (M, 1), so that each line below reads like the formula for one model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby

import torch
from torch import Tensor


@dataclass(frozen=True)
class OptimizerConfig:
    """What one member is trained with; names and defaults as in `torch.optim`, fields a rule does not use are ignored.

    Attributes:
        name: sgd, rmsprop, adam or adamw.
        lr: learning rate η.
        momentum: μ of SGD and RMSprop.
        beta1: decay of Adam's first moment.
        beta2: decay of the second moment, for RMSprop too (there called alpha, with default 0.99).
        eps: added to the root of the second moment.
        weight_decay: λ; added to the gradient as λθ, or, for AdamW, subtracted from the parameters as ηλθ.
        final_lr: fraction of lr that a cosine reaches at the last step; 1 keeps lr constant.
    """

    name: str = "adam"
    lr: float = 1e-3
    momentum: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    eps: float = 1e-8
    weight_decay: float = 0.0
    final_lr: float = 1.0

    def __post_init__(self) -> None:
        if self.name not in RULES:
            raise ValueError(f"unknown optimizer {self.name!r}; choose from {', '.join(RULES)}")
        for name, value in asdict(self).items():
            if name != "name" and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{name} must be a finite number ≥ 0, got {value}")
        if self.final_lr > 1:
            raise ValueError(f"final_lr is a fraction of lr, at most 1, got {self.final_lr}")
        for name in ("momentum", "beta1", "beta2"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name} must be below 1, got {getattr(self, name)}")


@dataclass
class Rows:
    """What an update rule works on: some members' parameters and states, (m, P), and hyper-parameters, (m, 1)."""

    theta: Tensor
    grad: Tensor
    first: Tensor
    """First moment, or momentum buffer."""
    second: Tensor
    """Second moment."""
    hyper: dict[str, Tensor]
    step: Tensor
    """Number of this update, from 1, as a float64 scalar (schedules and bias corrections are computed in float64)."""
    steps: int
    """Number of updates in all."""

    def column(self, name: str) -> Tensor:
        """A hyper-parameter in the number type of the parameters."""
        return self.hyper[name].to(self.theta.dtype)

    def lr(self) -> Tensor:
        """The learning rate now: η (f + (1 − f) (1 + cos πτ) / 2), τ running from 0 to 1 over the training."""
        tau, final = (self.step - 1) / max(1, self.steps - 1), self.hyper["final_lr"]
        factor = final + (1 - final) * (1 + torch.cos(math.pi * tau)) / 2
        return (self.hyper["lr"] * factor).to(self.theta.dtype)

    def complement(self, beta: str) -> Tensor:
        """1 − β, from β in float64: in float32, 1 − 0.99999 is off by a thousandth."""
        return (1 - self.hyper[beta]).to(self.theta.dtype)

    def unbias(self, beta: str) -> Tensor:
        """1 − βᵗ, the weight that a moving average started at zero has gathered after t steps."""
        return (1 - self.hyper[beta] ** self.step).to(self.theta.dtype)


def sgd(r: Rows) -> None:
    """Momentum: b ← μ b + g;  θ ← θ − η b."""
    g = r.grad + r.column("weight_decay") * r.theta
    r.first.mul_(r.column("momentum")).add_(g)
    r.theta.sub_(r.lr() * r.first)


def rmsprop(r: Rows) -> None:
    """Root mean square: v ← β₂ v + (1 − β₂) g²;  b ← μ b + g / (√v + ε);  θ ← θ − η b."""
    g = r.grad + r.column("weight_decay") * r.theta
    r.second.mul_(r.column("beta2")).add_(r.complement("beta2") * g * g)
    r.first.mul_(r.column("momentum")).add_(g / (r.second.sqrt() + r.column("eps")))
    r.theta.sub_(r.lr() * r.first)


def adam(r: Rows) -> None:
    """Both moments: m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  θ ← θ − η m̂ / (√v̂ + ε), with m̂, v̂ unbiased."""
    _adam(r, r.grad + r.column("weight_decay") * r.theta)


def adamw(r: Rows) -> None:
    """θ ← θ − η λ θ, then Adam on the bare gradient."""
    r.theta.mul_(1 - r.lr() * r.column("weight_decay"))
    _adam(r, r.grad)


def _adam(r: Rows, g: Tensor) -> None:
    r.first.mul_(r.column("beta1")).add_(r.complement("beta1") * g)
    r.second.mul_(r.column("beta2")).add_(r.complement("beta2") * g * g)
    root = (r.second / r.unbias("beta2")).sqrt() + r.column("eps")
    r.theta.sub_(r.lr() / r.unbias("beta1") * r.first / root)


RULES: dict[str, Callable[[Rows], None]] = {"sgd": sgd, "rmsprop": rmsprop, "adam": adam, "adamw": adamw}


class PopulationOptimizer:
    """Updates parameters (M, P) in place, each row by its own rule and hyper-parameters.

    Args:
        configs: one a member; members that share a rule are fastest when they are neighbours.
        theta: the parameters, (M, P), which this optimizer will change.
        steps: number of updates that schedules run over.
    """

    def __init__(self, configs: Sequence[OptimizerConfig], theta: Tensor, steps: int = 1) -> None:
        if len(configs) != len(theta):
            raise ValueError(f"{len(configs)} optimizers for {len(theta)} members")
        self.theta, self.steps = theta, steps
        self.first, self.second = torch.zeros_like(theta), torch.zeros_like(theta)
        self.step_number = torch.zeros((), dtype=torch.float64, device=theta.device)
        names = [name for name in asdict(configs[0]) if name != "name"]
        columns = torch.tensor([[getattr(c, name) for name in names] for c in configs], dtype=torch.float64)
        self._groups: list[tuple[Callable[[Rows], None], slice, dict[str, Tensor]]] = []
        for rule, run in groupby(enumerate(configs), key=lambda pair: pair[1].name):
            members = [i for i, _ in run]
            rows = slice(members[0], members[-1] + 1)
            hyper = {name: columns[rows, j : j + 1].to(theta.device) for j, name in enumerate(names)}
            self._groups.append((RULES[rule], rows, hyper))

    @torch.no_grad()
    def step(self, grad: Tensor) -> None:
        """One update with the gradients (M, P)."""
        self.step_number += 1
        for rule, rows, hyper in self._groups:
            state = (self.theta[rows], grad[rows], self.first[rows], self.second[rows])
            rule(Rows(*state, hyper, self.step_number, self.steps))
