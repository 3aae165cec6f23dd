"""Sizes of a map's derivative: its operator norm, and its spectral radius, the rate at which it contracts locally.

A state is an (n, d) matrix (any shape will do), and norms of states are Frobenius norms, so that the operator norm of
DF(Y) is the spectral norm of the Jacobian, a matrix of n d × n d. Where that is small it is made; where it is not,
products with it and with its transpose are all that is needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator, eigs, svds
from torch import Tensor

Floats = NDArray[np.float64]
Map = Callable[[Tensor], Tensor]

DENSE = 512
"""Entries of a state up to which the Jacobian is made: 2 MB in float64, and a singular value takes 0.1 s."""


@dataclass(frozen=True)
class Derivative:
    """DF(Y), by what it does."""

    push: Map
    """H to DF(Y)[H]."""
    pull: Map
    """G to its adjoint, DF(Y)*[G]: ⟨G, DF(Y)[H]⟩ = ⟨DF(Y)*[G], H⟩."""
    at: Tensor
    """Y."""
    value: Tensor
    """F(Y)."""

    def matrix(self) -> Tensor:
        """The Jacobian, (entries of F(Y), entries of Y)."""
        basis = torch.eye(self.at.numel(), dtype=self.at.dtype, device=self.at.device)
        columns = torch.vmap(self.push, chunk_size=64)(basis.reshape(-1, *self.at.shape))
        return columns.reshape(len(basis), -1).mT.detach()

    def operator(self) -> LinearOperator:
        """The same for SciPy: NumPy float64 vectors in and out."""

        def flat(f: Map, shape: torch.Size) -> Callable[[Floats], Floats]:
            return lambda x: f(torch.from_numpy(x).to(self.at).reshape(shape)).detach().flatten().double().cpu().numpy()

        return LinearOperator(
            shape=(self.value.numel(), self.at.numel()),
            matvec=flat(self.push, self.at.shape),
            rmatvec=flat(self.pull, self.value.shape),
            dtype=np.float64,
        )


def derivative(f: Map, y: Tensor) -> Derivative:
    """DF(Y) of a map at one state: by its method of this name if it has one, else by torch's two modes."""
    y = y.detach()
    closed: Callable[[Tensor], Derivative] | None = getattr(f, "derivative", None)
    if closed is not None:
        return closed(y)
    back = torch.func.vjp(f, y)
    return Derivative(lambda h: torch.func.jvp(f, (y,), (h,))[1], lambda g: back[1](g)[0], y, back[0])


@torch.no_grad()
def operator_norm(f: Map, y: Tensor, *, dense: int = DENSE, seed: int = 0) -> float:
    """‖DF(Y)‖, the most by which the map stretches a small step from Y: the Jacobian's largest singular value.

    Args:
        f: any map that torch can differentiate in both modes, or that knows its derivative, as `contraction.Head` does.
        y: the state.
        dense: entries of the state up to which the Jacobian is made; beyond, Lanczos iterations on DF* DF.
        seed: of their start.

    Raises:
        scipy.sparse.linalg.ArpackNoConvergence: if these do not converge.
    """
    d = derivative(f, y)
    if d.at.numel() <= dense:
        return float(torch.linalg.matrix_norm(d.matrix(), ord=2))
    operator, start = d.operator(), _start(d, seed)
    if not operator.matvec(start).any():
        return 0.0  # a random start is in the null space of nothing else
    v0 = start if operator.shape[1] <= operator.shape[0] else operator.matvec(start)  # the shorter side's
    return float(svds(operator, k=1, v0=v0, tol=_tolerance(y), return_singular_vectors=False)[0])


@torch.no_grad()
def local_rate(f: Map, z: Tensor, *, dense: int = DENSE, seed: int = 0) -> float:
    """The largest |eigenvalue| of DF(Z): at a fixed point, the factor by which a step finally shrinks per iteration.

    It is never above `operator_norm`, and may be far below: a map can stretch at first and contract in the end.

    Args:
        f: a map from states to states.
        z: the state, at a fixed point if it is to be a rate.
        dense: entries of the state up to which the Jacobian is made; beyond, Arnoldi iterations.
        seed: of their start.

    Raises:
        ValueError: if the map changes the state's shape.
        scipy.sparse.linalg.ArpackNoConvergence: if the iterations do not converge.
    """
    d = derivative(f, z)
    if d.value.shape != d.at.shape:
        raise ValueError(f"a rate needs a map from states to states, got {tuple(d.at.shape)} to {tuple(d.value.shape)}")
    if d.at.numel() <= dense:
        return float(torch.linalg.eigvals(d.matrix()).abs().max())
    operator, start = d.operator(), _start(d, seed)
    if not operator.matvec(start).any():
        return 0.0
    # Eigenvalues of I + DF crowd around 1: a basis that is larger than ARPACK's own choice of 20 tells them apart.
    found = eigs(operator, k=1, v0=start, ncv=64, tol=_tolerance(z), return_eigenvectors=False)
    return float(np.abs(found).max())


def _start(d: Derivative, seed: int) -> Floats:
    return np.random.default_rng(seed).standard_normal(d.at.numel())


def _tolerance(y: Tensor) -> float:
    """Of eigenvalues, relative: what products in the state's precision can settle, and no finer than 1e-10."""
    return max(1e-10, 10 * torch.finfo(y.dtype).eps)
