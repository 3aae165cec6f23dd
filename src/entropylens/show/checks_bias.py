"""The checks of chapter 3's exercises."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from entropylens.measures.distribution import bias
from entropylens.show.checks import NotAttemptedError, TryAgainError, exercise
from entropylens.tasks.language import Language
from entropylens.tasks.targets import autoregressive_dirichlet


@exercise
def check_decomposition(answer: Callable[[Tensor, Tensor, Tensor], tuple[float, float]]) -> str:
    """Exercise: what the sample did and what the model added, in nats, from pθ, p_tgt and p̂, each (S,)."""
    language = Language(3, 3)
    model, target = (autoregressive_dirichlet(language, seed=s) for s in (1, 2))
    sample = language.empirical(language.sample(target, 40, torch.Generator().manual_seed(3)))
    right = bias(model.log(), target, sample)
    got = _call(answer, model, target, sample)
    by_sample, by_model = (float(x) for x in got)
    if not np.isfinite([by_sample, by_model]).all():
        raise TryAgainError("The result is not finite. Does 0 · log 0 hide in the sample? `entropy` takes care of it.")
    if abs(by_sample + by_model - float(right["bias"])) > 1e-9:
        raise TryAgainError("The two parts do not add up to H(pθ) − H(p_tgt). Which entropy appears in both?")
    if abs(by_sample - float(right["sample_bias"])) > 1e-9:
        raise TryAgainError(
            "They add up, but the parts are not these. The first one does not involve the model at all."
        )
    return "Right: H(p̂) cancels in the sum, which is why the split costs nothing."


@exercise
def check_equal_loss(answer: Callable[[pd.DataFrame, float], float]) -> str:
    """Exercise: the bias of one model where its loss first passes a level, from its rows (step, excess_loss, bias)."""
    path = pd.DataFrame({"step": [0, 1, 2, 3], "excess_loss": [2.0, 1.0, 0.4, 0.2], "bias": [1.0, 0.8, 0.2, 0.0]})
    got = _call(answer, path, 0.7)
    if abs(got - 0.5) < 1e-9:
        if not np.isnan(_call(answer, path, 0.1)):
            raise TryAgainError(
                "Right at 0.7. But the loss never reached 0.1, and you made up a bias for it: np.interp holds on to "
                "the last value unless left= and right= say otherwise."
            )
        return "Right: halfway between two snapshots in loss is halfway in bias."
    if np.isclose(got, [0.2, 0.8]).any():
        raise TryAgainError("That is the bias at a snapshot. Interpolate between the two snapshots around the level.")
    if np.isclose(got, [1.0, 0.0]).any():
        raise TryAgainError("np.interp wants increasing x, and the loss decreases: sort by excess_loss first.")
    raise TryAgainError(f"At an excess loss of 0.7 this path has bias 0.5, not {got:g}.")


@exercise
def check_verdict(answer: Callable[[float, float, float], str]) -> str:
    """Exercise: the verdict of an interval [low, high] for a claim that predicts an effect above `smallest`."""
    cases = {(0.05, 0.1): "supported", (-0.3, 0.01): "refuted", (0.001, 0.01): "refuted", (0.0, 0.3): "inconclusive"}
    for (low, high), right in cases.items():
        got = _call(answer, low, high, 0.02)
        if got != right and (low, high) == (0.001, 0.01):
            raise TryAgainError(
                "An interval of [0.001, 0.01] excludes zero, and still lies below the smallest effect of interest: "
                "an effect too small to matter does not support a claim."
            )
        if got != right:
            raise TryAgainError(f"[{low}, {high}] with a smallest effect of 0.02 is {right}, not {got}.")
    return "Right: significance is not enough, and a wide interval is no refutation."


def _call(answer: Callable[..., Any], *args: object) -> Any:
    try:
        return answer(*args)
    except NotImplementedError:
        raise NotAttemptedError from None
