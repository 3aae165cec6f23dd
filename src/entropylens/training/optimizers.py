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
    """What one member is trained with; names as in `torch.optim`, Adam's defaults for all; unused fields are ignored.

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

    @property
    def stability_edge(self) -> float:
        """The sharpness above which a quadratic bowl throws this optimizer out, at its full learning rate.

        2 (1 + μ)/η for a heavy ball, 2 (1 + β₁)/((1 − β₁) η) for Adam's average of gradients; where the gradient is
        divided by √v̂ + ε it holds for the Hessian that is preconditioned by that (Cohen et al., 2207.14484).
        """
        if self.name in ("adam", "adamw"):
            return 2 * (1 + self.beta1) / ((1 - self.beta1) * self.lr)
        return 2 * (1 + self.momentum) / self.lr


COLUMNS = (
    "lr", "momentum", "beta1", "beta2", "eps", "weight_decay", "1 - beta1", "1 - beta2", "1 - beta1^t", "1 - beta2^t",
)  # fmt: skip
"""What an update needs of each member at step t, in the order in which `PopulationOptimizer.columns` computes it."""


@dataclass
class Rows:
    """What an update rule works on: some members' parameters and states, (m, P); `r["lr"]` is a column (m, 1)."""

    theta: Tensor
    grad: Tensor
    first: Tensor
    """First moment, or momentum buffer."""
    second: Tensor
    """Second moment."""
    columns: Tensor
    """(m, len(COLUMNS))."""

    def __getitem__(self, name: str) -> Tensor:
        return self.columns[:, COLUMNS.index(name), None]


def sgd(r: Rows) -> None:
    """Momentum: b ← μ b + g;  θ ← θ − η b."""
    g = r.grad + r["weight_decay"] * r.theta
    r.first.mul_(r["momentum"]).add_(g)
    r.theta.sub_(r["lr"] * r.first)


def rmsprop(r: Rows) -> None:
    """Root mean square: v ← β₂ v + (1 − β₂) g²;  b ← μ b + g / (√v + ε);  θ ← θ − η b."""
    g = r.grad + r["weight_decay"] * r.theta
    r.second.mul_(r["beta2"]).add_(r["1 - beta2"] * g * g)
    r.first.mul_(r["momentum"]).add_(g / (r.second.sqrt() + r["eps"]))
    r.theta.sub_(r["lr"] * r.first)


def adam(r: Rows) -> None:
    """Both moments: m ← β₁ m + (1 − β₁) g;  v ← β₂ v + (1 − β₂) g²;  θ ← θ − η m̂ / (√v̂ + ε), with m̂, v̂ unbiased."""
    _adam(r, r.grad + r["weight_decay"] * r.theta)


def adamw(r: Rows) -> None:
    """θ ← θ − η λ θ, then Adam on the bare gradient."""
    r.theta.mul_(1 - r["lr"] * r["weight_decay"])
    _adam(r, r.grad)


def _adam(r: Rows, g: Tensor) -> None:
    r.first.mul_(r["beta1"]).add_(r["1 - beta1"] * g)
    r.second.mul_(r["beta2"]).add_(r["1 - beta2"] * g * g)
    root = (r.second / r["1 - beta2^t"]).sqrt() + r["eps"]
    r.theta.sub_(r["lr"] / r["1 - beta1^t"] * r.first / root)


RULES: dict[str, Callable[[Rows], None]] = {"sgd": sgd, "rmsprop": rmsprop, "adam": adam, "adamw": adamw}


@dataclass(frozen=True)
class State:
    """What a training can be taken up from, a row for each member."""

    theta: Tensor
    """(M, P) parameters."""
    first: Tensor
    """(M, P) first moment, or momentum."""
    second: Tensor
    """(M, P) second moment, without its bias correction."""
    updates: Tensor
    """(M) float64: how many have been done."""

    def __getitem__(self, members: Sequence[int] | slice) -> State:
        """The state of some members, in the order asked for; copies."""
        return State(*(part[members].clone() for part in (self.theta, self.first, self.second, self.updates)))

    @staticmethod
    def join(states: Sequence[State]) -> State:
        """The members of several states, one after the other."""
        parts = zip(*((s.theta, s.first, s.second, s.updates) for s in states), strict=True)
        return State(*(torch.cat(part) for part in parts))


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
        self.step_number = torch.zeros(len(theta), dtype=torch.float64, device=theta.device)
        names = [name for name in asdict(configs[0]) if name != "name"]
        table = torch.tensor([[getattr(c, name) for name in names] for c in configs], dtype=torch.float64)
        self._hyper = dict(zip(names, table.to(theta.device).unbind(1), strict=True))
        self._unbiased = torch.tensor([[c.name in ("adam", "adamw")] for c in configs], device=theta.device)
        self._divides = torch.tensor([[c.name != "sgd"] for c in configs], device=theta.device)
        self._groups: list[tuple[Callable[[Rows], None], slice]] = []
        for rule, run in groupby(enumerate(configs), key=lambda pair: pair[1].name):
            members = [i for i, _ in run]
            self._groups.append((RULES[rule], slice(members[0], members[-1] + 1)))

    def columns(self) -> Tensor:
        """`COLUMNS` for the next update, (M, len(COLUMNS)), and count it.

        Schedule and bias corrections are computed in float64, where 1 − β and βᵗ are exact enough, and outside of
        `apply`, which a compiler would otherwise make compute them anew for every parameter. The learning rate is
        η (f + (1 − f) (1 + cos πτ) / 2), τ running from 0 to 1 over the training.
        """
        self.step_number += 1
        h, t = self._hyper, self.step_number
        tau = ((t - 1) / max(1, self.steps - 1)).clamp(max=1.0)
        cosine = (1 + torch.cos(math.pi * tau)) / 2
        lr = h["lr"] * (h["final_lr"] + (1 - h["final_lr"]) * cosine)
        plain = [h[name] for name in COLUMNS[1:6]]
        derived = [1 - h["beta1"], 1 - h["beta2"], 1 - h["beta1"] ** t, 1 - h["beta2"] ** t]
        return torch.stack([lr, *plain, *derived], dim=1).to(self.theta.dtype)

    @torch.no_grad()
    def apply(self, grad: Tensor, columns: Tensor) -> None:
        """One update with the gradients (M, P) and what `columns` returned."""
        for rule, rows in self._groups:
            rule(Rows(self.theta[rows], grad[rows], self.first[rows], self.second[rows], columns[rows]))

    def second_moment(self, columns: Tensor) -> Tensor:
        """What an update under these columns divides by, before the root is taken and ε added, (M, P); zero for SGD."""
        correction = columns[:, COLUMNS.index("1 - beta2^t"), None]
        return torch.where(self._unbiased, self.second / correction, self.second)

    def divisor(self) -> Tensor:
        """√v̂ + ε of the last update, (M, P); 1 for SGD.

        Raises:
            ValueError: before the first update.
        """
        if not bool((self.step_number > 0).all()):
            raise ValueError("there is no divisor before the first update")
        h = self._hyper
        correction = torch.where(self._unbiased[:, 0], 1 - h["beta2"] ** self.step_number, 1.0)[:, None]
        root = (self.second / correction.to(self.second)).sqrt() + h["eps"].to(self.second)[:, None]
        return torch.where(self._divides, root, torch.ones_like(root))

    def state(self) -> State:
        """All that the next update depends on but the gradient; a copy."""
        return State(self.theta, self.first, self.second, self.step_number)[:]

    def restore(self, state: State) -> None:
        """Go on from a state, in place."""
        for mine, other in zip(
            (self.theta, self.first, self.second, self.step_number),
            (state.theta, state.first, state.second, state.updates),
            strict=True,
        ):
            mine.copy_(other)

    def step(self, grad: Tensor) -> None:
        """One update with the gradients (M, P)."""
        self.apply(grad, self.columns())
