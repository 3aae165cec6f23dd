"""Steering how certain attention is in the course of training, by a factor of all its logits, an inverse temperature.

"Adaptive entropy control" is future work with Lam (arXiv 2601.09588), and not defined: this is a definition of ours.
Its rival needs no feedback: the factor itself follows a line that was drawn beforehand. Both have the same two numbers
to choose.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

What = Literal["entropy", "factor"]
MOST = 8.0
"""The largest factor, and one over the smallest."""


@dataclass(frozen=True)
class Steering:
    """What is to go from `begin` to `end` in a straight line, until most steps are done, and then to stay.

    Attributes:
        what: the relative entropy of the last token's attention, 0 … 1, averaged over loops and sequences, to which the
            factor is fed back; or the factor, above 0, whose logarithm goes in a straight line.
        begin, end: its values.
        gain: by how much the logarithm of the factor rises in a step per unit of entropy that is too much.
        until: the share of the steps after which it has come to `end`.
    """

    what: What
    begin: float
    end: float
    gain: float = 0.1
    until: float = 0.75

    def __post_init__(self) -> None:
        if self.what not in get_args(What):
            raise ValueError(f"unknown {self.what!r}; choose from {', '.join(get_args(What))}")
        low, high = (0.0, 1.0) if self.what == "entropy" else (1 / MOST, MOST)
        if not all(low <= value <= high for value in (self.begin, self.end)) or not (
            self.gain > 0 and 0 < self.until <= 1
        ):
            raise ValueError(f"needs a gain above 0, a share above 0, and values of {low:g} … {high:g}, got {self}")

    def first(self, members: int) -> Tensor:
        """The logarithm of the factor at the beginning, (M)."""
        start = torch.tensor(self.begin).log() if self.what == "factor" else torch.zeros(())
        return start.repeat(members)

    def next(self, log_factor: Tensor, entropy: Tensor, share: float) -> Tensor:
        """The logarithm of the factor after a step, (M).

        Args:
            log_factor: before it, (M).
            entropy: that the step has seen, (M).
            share: of the steps that are done, 0 … 1.
        """
        if self.what == "factor":
            return torch.tensor(self.wanted(share)).log().to(log_factor).expand_as(log_factor)
        limit = math.log(MOST)
        return (log_factor + self.gain * (entropy - self.wanted(share))).clamp(-limit, limit)

    def wanted(self, share: float) -> float:
        """The value, when this share of the steps is done; of a factor, its logarithm goes in a straight line."""
        done = min(share / self.until, 1.0)
        if self.what == "factor":
            return float(self.begin ** (1 - done) * self.end**done)
        return self.begin + done * (self.end - self.begin)
