"""The checks of chapter 8's exercises."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from entropylens.measures.events import Steps
from entropylens.show.checks import ask, compare, exercise


@exercise
def check_edge(answer: Callable[[float, float], float]) -> str:
    """Exercise: the largest curvature at which SGD with momentum is stable, from β and the learning rate."""
    for beta, lr in ((0.9, 0.02), (0.5, 0.1)):
        right = torch.tensor(2 * (1 + beta) / lr, dtype=torch.float64)
        mistakes: dict[str, Tensor | float] = {
            "That is the edge of plain SGD, 2/η. With momentum a parabola may be steeper: β has to come in.": 2 / lr,
            "You took η/(1 − β) for the rate. So far it goes on a slope; at the edge steps alternate, and v brakes.":
                2 * (1 - beta) / lr,
            "You took η(1 − β) for the rate, as if v took that share of g and kept nothing. Here it takes all of g.":
                2 / (lr * (1 - beta)),
            "That is Adam's (38/η for β = 0.9): its v is an average, with (1 − β)g in it. Here v takes all of g.":
                2 * (1 + beta) / (lr * (1 - beta)),
            "You wrote β = 0.9 into the formula. Use the argument.": 3.8 / lr,
        }  # fmt: skip
        told = f"For β = {beta} and η = {lr} it is {float(right):g}. At the edge x and v only change their sign."
        compare(ask(answer, beta, lr), right, mistakes, told)
    return "Right: (2 + 2β)/η, and plain SGD's 2/η without momentum."


@exercise
def check_lag(answer: Callable[[Steps, Steps], Steps]) -> str:
    """Exercise: each spike's onset less that of the nearest jump, (spikes), from the onsets of both."""
    spikes, jumps = np.array([40, 100, 163, 300]), np.array([38, 107, 150, 160, 330])
    right = torch.tensor([2, -7, 3, -30]).double()
    mistakes: dict[str, Tensor | float] = {
        "The sign is reversed: the spike's onset less the jump's, so that above zero the jump came first.": -right,
        "That is how far apart they are. Keep the sign: it says which came first.": right.abs(),
        "You took the last jump before each spike, and so the jump is first by construction. Look on both sides.":
            torch.tensor([2, 62, 3, 140]).double(),
        "You paired the first spike with the first jump, the second with the second, … Take the nearest jump.":
            torch.tensor([2, -7, 13, 140]).double(),
    }  # fmt: skip
    compare(ask(answer, spikes, jumps), right, mistakes,
            f"For spikes at {spikes.tolist()} and jumps at {jumps.tolist()} it is {right.int().tolist()}.")  # fmt: skip
    return "Right: the nearest jump on either side, and the sign says which came first."


@exercise
def check_shift(answer: Callable[[Steps, int, Steps], Steps]) -> str:
    """Exercise: onsets moved round in a circle in their own block of steps, sorted, each block by its own turn."""
    # As many blocks as onsets, so that an answer that confuses the two does not fail before it can be told so.
    block, onsets, turns = 100, np.array([5, 60, 95, 130, 180, 590]), np.array([30, 45, 10, 70, 20, 25])
    begin, number = onsets // block * block, onsets // block
    whole = block * len(turns)
    moved = begin + (onsets - begin + turns[number]) % block

    def tensor(steps: Steps) -> Tensor:
        return torch.as_tensor(np.sort(steps)).double()

    mistakes: dict[str, Tensor | float] = {
        "You turned the whole training by one number. Each block has its own, turns[block number].":
            tensor((onsets + turns[0]) % whole),
        "Some onsets leave their block. What is pushed over its end comes in again at its beginning (modulo).":
            tensor(onsets + turns[number]),
        "You moved them round the whole training. The circle is the block: modulo its length, counted from its start.":
            tensor((onsets + turns[number]) % whole),
        "Every onset was turned on its own, which destroys how far apart they are. All in one block turn alike.":
            tensor(begin + (onsets - begin + turns) % block),
        "All onsets came back to the first block. Add where their block begins.": tensor(moved - begin),
        "The right steps, but not in order: sort them.": torch.as_tensor(moved).double(),
    }  # fmt: skip
    compare(ask(answer, onsets, block, turns), tensor(moved), mistakes,
            f"For onsets {onsets.tolist()}, blocks of {block} steps and turns {turns.tolist()} it is "
            f"{np.sort(moved).tolist()}.")  # fmt: skip
    return (
        "Right: how many there are in a block, and how far apart on its circle, stays; what they had to do with "
        "the other kind is gone."
    )
