"""The checks of chapter 11's exercises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from entropylens.measures.landscape import ruggedness
from entropylens.show.checks import ask, compare, exercise
from entropylens.training.regularizers import kinetic_energy, potential


@exercise
def check_kinetic(answer: Callable[[Tensor], Tensor]) -> str:
    """Exercise: 1/(2T) Σ_t ‖Z_t − Z_{t−1}‖² of states Z_0 … Z_T, (T + 1, n, d) to a scalar."""
    states = torch.randn(5, 3, 2, generator=torch.Generator().manual_seed(11)).double()
    right, squares = kinetic_energy(states[:, None])[0], (states[1:] - states[:-1]).square().sum()
    mistakes: dict[str, Tensor | float] = {
        "Without the half: it is 1/(2T), as in ½ m v².": 2 * right,
        "You divided by T + 1, the number of states. There are T steps between them.": squares / 10,
        "That is the sum over loops. Divide by their number.": squares / 2,
        "That is the mean over numbers. The norm of a step sums over tokens and coordinates.":
            (states[1:] - states[:-1]).square().mean() / 2,
        "Square the norms: that is the mean length of a step, halved.":
            (states[1:] - states[:-1]).norm(dim=(-2, -1)).mean() / 2,
        "That is how large states are. Take the difference of each and the one before.":
            states[1:].square().sum() / 8,
    }  # fmt: skip
    compare(ask(answer, states.clone()), right, mistakes, f"Of these states it is {float(right):.4f}.")
    return "Right: the kinetic energy of a token of mass one, if a loop is a unit of time."


@exercise
def check_potential(answer: Callable[[Tensor], Tensor]) -> str:
    """Exercise: 1/T Σ_t min_j (−log p_tj) of distributions (T, n) with zeros, to a scalar."""
    p = torch.tensor([[0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.1, 0.2, 0.3, 0.4]]).double()
    right = potential(p[:, None, None])[0]
    entropy = torch.special.entr(p).sum(-1).mean()
    mistakes: dict[str, Tensor | float] = {
        "That is an entropy: the mean of −log p. Here it is the smallest.": entropy,
        "That is the sum over loops. Take their mean.": 3 * right,
        "The sign is wrong: −log p is never below zero.": -right,
        "You took one minimum over all loops; each loop has its own.": -p.max().log(),
        "That is the mean of the largest weights. Take their −log first.": p.amax(-1).mean(),
        "The −log of a mean is not the mean of −log: take the logarithm in each loop.": -p.amax(-1).mean().log(),
    }
    told = f"For {p.tolist()} it is {float(right):.4f}: the −log of the largest weight of each row, averaged."
    compare(ask(answer, p.clone()), right, mistakes, told)
    return "Right. Only the largest weight of a row counts, so that its slope does not see all the others."


@exercise
def check_ruggedness(answer: Callable[[Tensor], Tensor]) -> str:
    """Exercise: the share of a slice's ups and downs that a single funnel would not have, (K) to a scalar."""
    values = torch.tensor([4.0, 1.0, 3.0, 0.0, 2.0, 1.0, 5.0]).double()
    right, total = ruggedness(values), values.diff().abs().sum()
    mistakes: dict[str, Tensor | float] = {
        "That is the share that a funnel has. Return the rest.": 1 - right,
        "That is how much there is. Divide by all ups and downs.": right * total,
        "You compared with the way down alone. A funnel goes up again, to the last value.":
            (total - (values[0] - values.min())) / total,
    }  # fmt: skip
    told = f"For {values.tolist()} all ups and downs are {float(total):g}, and a funnel with these ends has 9 of them."
    compare(ask(answer, values.clone()), right, mistakes, told)
    for shape, name in ((torch.tensor([3.0, 1.0, 0.0, 2.0]), "a funnel"), (torch.tensor([3.0, 2.0, 1.0]), "a slope")):
        compare(ask(answer, shape.double()), torch.tensor(0.0).double(), {}, f"{shape.tolist()} is {name}: 0.")
    return "Right: and neither a factor nor a constant changes it, so that losses of different size can be compared."
