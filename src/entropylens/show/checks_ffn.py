"""The checks of chapter 4's exercises."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from entropylens.models.layouts import SentenceLayout
from entropylens.show.checks import TryAgainError, ask, compare, exercise

_AVERAGE = "Position t is the mean of rows 0 … t."


@exercise
def check_parameters(answer: Callable[[int, int], int]) -> str:
    """Exercise: the trainable numbers of one FFN with d inputs and outputs, and f neurons."""
    for d, f in ((8, 32), (16, 5)):
        right = 2 * d * f + f + d
        mistakes: dict[str, Tensor | float] = {
            "You left out the biases: one for each neuron, and one for each output.": 2 * d * f,
            "You left out the neurons' biases.": 2 * d * f + d,
            "You left out the outputs' biases.": 2 * d * f + f,
            "You counted one matrix. There are two: keys (d × f) and values (f × d).": d * f + f + d,
            "That is the full model's f = 4·d. Use the argument f.": 8 * d * d + 5 * d,
        }
        compare(ask(answer, d, f), torch.tensor(right).double(), mistakes, f"For d = {d}, f = {f} it is {right}.")
    return "Right: 2·d·f weights, and f + d biases."


@exercise
def check_average(answer: Callable[[Tensor], Tensor]) -> str:
    """Exercise: the uniform causal average of (T, d), a row for each position."""
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    sums = x.cumsum(0)
    right = SentenceLayout(torch.zeros(1, 4, dtype=torch.long), 2).average(x)
    earlier = torch.cat([torch.zeros(1, 3, dtype=torch.float64), sums[:-1] / torch.arange(1, 4)[:, None]])
    mistakes = {
        "That is the mean over all positions: position 0 would see the future.": x.mean(0).expand(4, 3),
        "That is a running sum. Divide by how many positions it holds.": sums,
        "You divided every sum by T. Position t has seen t + 1 rows.": sums / 4,
        "You left out the position itself; it attends to itself, too.": earlier,
    }
    compare(ask(answer, x), right, mistakes, _AVERAGE)
    return "Right: attention with all weights equal, and nothing to learn."


@exercise
def check_memory(answer: Callable[[Tensor, Tensor, Tensor], float]) -> str:
    """Exercise: the mean log pθ of seen minus unseen sentences, within groups of equal p_tgt, averaged over groups."""
    target = torch.tensor([0.3, 0.3, 0.1, 0.1, 0.1, 0.1], dtype=torch.float64)
    seen = torch.tensor([True, True, True, False, False, False])
    log_p = torch.tensor([-1.0, -1.2, -2.0, -2.6, -2.4, -2.8], dtype=torch.float64)
    mistakes: dict[str, Tensor | float] = {
        "You compared all seen with all unseen sentences. Seen ones are likelier to begin with: compare within groups "
        "of equal true probability.": log_p[seen].mean() - log_p[~seen].mean(),
        "The sign is wrong: seen minus unseen.": -0.6,
        "NaN: a group in which all sentences were seen has nothing to compare. Leave it out.": torch.nan,
        "You counted a group without unseen sentences as 0. Leave it out.": 0.3,
    }  # fmt: skip
    compare(ask(answer, log_p, target, seen), torch.tensor(0.6).double(), mistakes, "Here it is 0.6 nats.")
    both = torch.tensor([0.3, 0.3, 0.2, 0.2], dtype=torch.float64)
    result = ask(
        answer, torch.tensor([-1.0, -2.0, -3.0, -6.0]).double(), both, torch.tensor([True, False, True, False])
    )
    if abs(float(result) - 2.0) > 1e-9:
        raise TryAgainError("With several groups, average their differences: 1 and 3 nats make 2.")
    return "Right: what is left is what having been in the sample is worth."
