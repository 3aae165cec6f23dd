"""The largest eigenvalue of the loss's Hessian, of many models at once, by Lanczos iterations.

Gradient descent with step size η is stable along a direction of curvature λ while λ < 2/η. An optimizer that divides
the gradient by d, coordinate by coordinate (Adam, RMSprop: d = √v̂ + ε), sees the curvature of D^(−1/2) H D^(−1/2)
instead, the *preconditioned* sharpness (Cohen et al., 2207.14484).

Models of a population share no parameter, so one backward pass gives every model's own product H v. The recurrence is
reorthogonalised in full (twice), since in floating point the Lanczos vectors lose their orthogonality as soon as the
first eigenvalue has converged.

Shapes: M models, P parameters of each.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from entropylens.models.layouts import Layout
from entropylens.training.optimizers import PopulationOptimizer

Losses = Callable[[Tensor], Tensor]
"""Parameters (M, P) to losses (M), each a function of its own row; twice differentiable."""


@dataclass(frozen=True)
class Sharpness:
    """What `sharpness` found, each (M)."""

    value: Tensor
    """The largest eigenvalue; nats per squared unit of the parameters, or of the preconditioned ones."""
    error: Tensor
    """An eigenvalue lies this close to `value`: the residual's norm. 0 where the iteration has seen the whole space."""
    direction: Tensor
    """(M, P) unit vectors: what the iteration takes for the eigenvector, in the preconditioned coordinates."""


def hessian_product(losses: Losses, theta: Tensor, v: Tensor) -> Tensor:
    """H v of every model, (M, P), by differentiating the gradient's product with v."""
    theta = theta.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(losses(theta).sum(), theta, create_graph=True)
    (product,) = torch.autograd.grad((gradient * v).sum(), theta)
    return product.detach()


def sharpness(
    losses: Losses,
    theta: Tensor,
    divisor: Tensor | None = None,
    iterations: int = 40,
    seed: int = 0,
    start: Tensor | None = None,
) -> Sharpness:
    """The largest (not the largest in size: it may be outweighed by a negative one) eigenvalue of each model's Hessian.

    Args:
        losses: of all models; the trie's must be `differentiable_twice`.
        theta: where, (M, P).
        divisor: what the optimizer divides the gradient by, (M, P), positive; None for plain gradient descent.
        iterations: Hessian–vector products; fewer are done where a model has fewer parameters.
        seed: of the random start.
        start: (M, P) to begin from instead: a direction that was found nearby saves most of the iterations.

    Raises:
        ValueError: for a divisor that is not positive, or fewer than one iteration.
    """
    if iterations < 1 or (divisor is not None and not bool((divisor > 0).all())):
        raise ValueError("sharpness needs one iteration or more, and a divisor that is positive throughout")
    scale = torch.ones_like(theta) if divisor is None else divisor.rsqrt()
    if start is None:
        random = torch.Generator().manual_seed(seed)
        start = torch.randn(theta.shape, generator=random, dtype=torch.float64).to(theta)
    basis = [start / start.norm(dim=1, keepdim=True)]
    diagonal: list[Tensor] = []
    beside: list[Tensor] = []
    for _ in range(min(iterations, theta.shape[1])):
        w = scale * hessian_product(losses, theta, scale * basis[-1])
        diagonal.append((w * basis[-1]).sum(1))
        for _ in range(2):
            for each in basis:
                w = w - (w * each).sum(1, keepdim=True) * each
        size = torch.stack(diagonal + beside).abs().amax(0)
        length = w.norm(dim=1)
        length = torch.where(length > 100 * torch.finfo(w.dtype).eps * size, length, torch.zeros_like(length))
        beside.append(length)
        # Where nothing is left, the space is exhausted: a zero vector is orthogonal to all, and is left out below.
        basis.append(torch.where(length > 0, 1 / length, torch.zeros_like(length))[:, None] * w)
    value, error, mix = _ritz(torch.stack(diagonal, dim=1).double(), torch.stack(beside, dim=1).double())
    direction = sum(mix[:, k, None].to(theta) * each for k, each in enumerate(basis[:-1]))
    assert isinstance(direction, Tensor)
    return Sharpness(value, error, direction)


def _ritz(diagonal: Tensor, beside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The largest eigenvalue of each tridiagonal matrix, (M, k) and (M, k), its residual's norm, its vector (M, k)."""
    inner = beside[:, :-1]
    exhausted = (inner == 0).cumsum(1) > 0
    # What comes after the end of the space would be zeros: made equal to a value that the largest cannot lie below.
    diagonal = torch.cat([diagonal[:, :1], torch.where(exhausted, diagonal[:, :1], diagonal[:, 1:])], dim=1)
    tridiagonal = torch.diag_embed(diagonal) + torch.diag_embed(inner, 1) + torch.diag_embed(inner, -1)
    values, vectors = torch.linalg.eigh(tridiagonal)
    return values[:, -1], beside[:, -1] * vectors[:, -1, -1].abs(), vectors[:, :, -1]


@dataclass(frozen=True)
class SharpnessLog:
    """K measurements in the course of a training."""

    steps: list[int]
    """(K) the number of updates done before each."""
    value: Tensor
    """(K, M) the largest eigenvalue, preconditioned by what the optimizer last divided by; NaN before there is such."""
    error: Tensor
    """(K, M) as of `Sharpness`."""


FIRST, LATER = 40, 10
"""Products for the first measurement, and for those that start from the direction found last."""


@dataclass
class Probe:
    """Measures the sharpness that a population's optimizers see, now and then during training.

    Args:
        losses: `Population.losses`.
        optimizer: whose parameters and second moments are looked at.
        layout: differentiable twice.
    """

    losses: Callable[[Tensor, Layout, Tensor], Tensor]
    optimizer: PopulationOptimizer
    layout: Layout
    found: list[tuple[int, Tensor, Tensor]] = field(default_factory=list)
    direction: Tensor | None = None

    def __call__(self, step: int, table: Tensor) -> None:
        """Measure at the parameters of now, for weights on the trie (M, N, V)."""
        theta = self.optimizer.theta
        if step == 0:
            nothing = torch.full((len(theta),), torch.nan, dtype=torch.float64)
            self.found.append((step, nothing, nothing))
            return
        here = sharpness(
            lambda at: self.losses(at, self.layout, table),
            theta,
            self.optimizer.divisor(),
            iterations=FIRST if self.direction is None else LATER,
            start=self.direction,
        )
        self.direction = here.direction
        self.found.append((step, here.value.cpu(), here.error.cpu()))

    def log(self) -> SharpnessLog:
        """All that was measured."""
        steps, values, errors = zip(*self.found, strict=True)
        return SharpnessLog(list(steps), torch.stack(values), torch.stack(errors))
