"""The checks of chapter 15's exercises."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from entropylens.results.claims import decide
from entropylens.results.registry import Claim, Rule
from entropylens.show.checks import NotAttemptedError, TryAgainError, ask, compare, exercise

_RULE = Rule("gain", "nats", 0.1, {"size": 64}, {"data": "fresh"}, {"size": 8}, {"data": "sample"})
_CLAIM = Claim("X-1", "p", "Large gains more than small.", "So it says.", "P", None, ["none"], "gain", "planted", _RULE)


def _planted() -> pd.DataFrame:
    """Ten seeds: the gain of size 64 over size 8 is 0 with fresh data, 0.4 with a sample, and 0.09 with all of it."""
    noise = np.random.default_rng(15).normal(scale=0.03, size=10)
    gains = {"fresh": 0.0, "sample": 0.4, "all": 0.09}
    return pd.DataFrame([
        {"size": size, "data": data, "seed": seed, "gain": 1.0 + (gain + noise[seed]) * (size == 64), "final": final}
        for data, gain in gains.items()
        for size in (8, 64)
        for seed in range(10)
        for final in (False, True)
    ])  # fmt: skip


@exercise
def check_elsewhere(answer: Callable[[Claim, pd.DataFrame, Mapping[str, object]], str]) -> str:
    """Exercise: the verdict of a claim's rule, had another condition been its only one, from rows."""
    rows, as_written = _planted(), decide(_CLAIM, _planted()).verdict
    for data, right in {"sample": "supported", "all": "inconclusive", "fresh": "refuted"}.items():
        try:
            said = answer(_CLAIM, rows.copy(), {"data": data})
        except NotImplementedError:
            raise NotAttemptedError from None
        if said == right:
            continue
        if said == as_written and data != "fresh":
            raise TryAgainError("That is the verdict of the rule as it is. Is `primary` what decides in your rule?")
        if said == "depends":
            raise TryAgainError("The rule's second condition still has a say. Leave it out: second=None.")
        raise TryAgainError(f"In the condition data = {data!r} the verdict is {right}, not {said!r}.")
    return "Right. Such a verdict explores: nobody had named the condition before the rows were seen."


@exercise
def check_range(answer: Callable[[float, float, float], tuple[float, float]]) -> str:
    """Exercise: between which factors on the smallest effect a verdict stays as it is, from low, high and smallest."""
    cases = {
        (0.3, 0.5, 0.1): ((0.0, 3.0), "supported"),
        (-0.2, 0.05, 0.1): ((0.5, math.inf), "refuted"),
        (-0.3, -0.1, 0.1): ((0.0, math.inf), "refuted"),
        (0.05, 0.2, 0.1): ((0.5, 2.0), "inconclusive"),
        (-0.1, 0.2, 0.1): ((0.0, 2.0), "inconclusive"),
    }
    for interval, (right, word) in cases.items():
        got = ask(answer, *interval)
        low, high, smallest = interval
        told = f"[{low}, {high}] with a smallest effect of {smallest} is {word}. It stays so between factors of "
        mistakes: dict[str, Tensor | float] = {
            "These are sizes. Divide them by the smallest effect to get factors.":
                torch.tensor(right).double() * smallest,
            "Those are the interval's ends. A supported verdict bears any smaller size, a refuted one any larger; no "
            "factor is below 0.":
                torch.tensor([low / smallest, high / smallest]).double(),
        }  # fmt: skip
        compare(got, torch.tensor(right).double(), mistakes, f"{told}{right[0]:g} and {right[1]:g}.")
    return "Right: in units of the smallest effect, the ends of the interval are the factors at which a verdict turns."


@exercise
def check_chance(answer: Callable[[Tensor], tuple[float, float]]) -> str:
    """Exercise: how many of some verdicts are wrong on average, and how likely one is at least, from chances (n)."""
    for chances in (torch.full((28,), 0.025), torch.tensor([0.5, 0.1, 0.0])):
        p = chances.double()
        expected, some = float(p.sum()), float(1 - (1 - p).prod())
        mistakes: dict[str, Tensor | float] = {
            "The other way round: first how many on average, then how likely one is at least.":
                torch.tensor([some, expected]).double(),
            "Chances of several independent errors do not add up: one minus the chance that there is none.":
                torch.tensor([expected, expected]).double(),
            "The second is the chance that all are wrong. Take one minus the chance that none is.":
                torch.tensor([expected, float(p.prod())]).double(),
            "The first is a mean chance. How many are wrong on average is their sum.":
                torch.tensor([float(p.mean()), some]).double(),
        }  # fmt: skip
        told = f"With chances {p.tolist()[:3]} … the answers are {expected:.3f} and {some:.3f}."
        compare(ask(answer, p.clone()), torch.tensor([expected, some]).double(), mistakes, told)
    return "Right. The sum needs no independence; the product does."
