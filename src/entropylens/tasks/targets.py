"""Target distributions p_tgt: three families, a tilt to a requested entropy, and a shuffle that ends all structure.

What we have seen of the paper does not say how its target is built; these are our readings, chosen to differ where it
may matter: a support that is sparse and arbitrary, none (every sentence possible, structure in the conditionals), and
sparse by rule.
Every function is a pure function of its arguments: the same seed gives the same target, (S,) float64.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from scipy.optimize import brentq
from torch import Tensor

from entropylens.tasks.language import Language, check_distribution, entropy

Rule = Callable[[Tensor], Tensor]
"""Takes sentences (S, T), returns which are allowed, (S,) bool."""

RULES: dict[str, Rule] = {
    "no_repeats": lambda s: (s[:, 1:] != s[:, :-1]).all(-1),
    "palindromes": lambda s: (s == s.flip(-1)).all(-1),
    "non_decreasing": lambda s: (s[:, 1:] >= s[:, :-1]).all(-1),
}


def sparse_support(language: Language, k: int, *, concentration: float = 1.0, seed: int) -> Tensor:
    """Dirichlet(concentration) weights on k sentences chosen at random, zero elsewhere."""
    if not 1 <= k <= language.n_sentences:
        raise ValueError(f"k must be 1 … {language.n_sentences}, got {k}")
    rng = np.random.default_rng(seed)
    support = rng.choice(language.n_sentences, size=k, replace=False)
    return _dirichlet_on(language, support, concentration, rng)


def autoregressive_dirichlet(language: Language, *, concentration: float = 0.5, seed: int) -> Tensor:
    """Every conditional p(· | prefix) drawn independently from a symmetric Dirichlet(concentration)."""
    _check_concentration(concentration)
    rng = np.random.default_rng(seed)
    rows = rng.dirichlet(np.full(language.vocab_size, concentration), size=language.n_nodes)
    return _normalised(language.sentence_log_probs(torch.from_numpy(rows).log()).exp())


def rule_pattern(language: Language, rule: str | Rule, *, concentration: float = 1.0, seed: int) -> Tensor:
    """Dirichlet(concentration) weights on the sentences that a rule allows.

    Args:
        language: the language.
        rule: a key of `RULES`, or a function from sentences (S, T) to a mask (S,).
        concentration: of the Dirichlet weights; large values approach a uniform distribution on the allowed ones.
        seed: of the weights.

    Raises:
        ValueError: for an unknown rule, or one that allows nothing.
    """
    if isinstance(rule, str):
        if rule not in RULES:
            raise ValueError(f"unknown rule {rule!r}; choose from {', '.join(RULES)}")
        rule = RULES[rule]
    support = rule(language.sentences).nonzero()[:, 0].numpy()
    if len(support) == 0:
        raise ValueError("the rule allows no sentence")
    return _dirichlet_on(language, support, concentration, np.random.default_rng(seed))


def shuffled(p: Tensor, seed: int) -> Tensor:
    """The same probabilities, dealt to the sentences anew: the entropy stays, whatever structure there was goes."""
    order = np.random.default_rng([seed, *b"shuffle"]).permutation(len(p))
    return p[torch.from_numpy(order)]


def tilt_to_entropy(p: Tensor, nats: float, *, tolerance: float = 1e-6) -> Tensor:
    """The tempered distribution p**β / Z, β > 0, whose entropy is `nats` (within `tolerance`).

    The support stays, and so does the ranking of the sentences. The entropy falls monotonically in β, from log(size of
    the support) as β → 0 to log(number of maximal entries) as β → ∞; β is found by root finding on log β.

    Raises:
        ValueError: if the entropy is out of reach; the message gives the reachable range.
    """
    check_distribution(p)
    support = p > 0
    log_p = p[support].log()
    low, high = math.log(int((log_p == log_p.max()).sum())), math.log(len(log_p))
    if not low - tolerance <= nats <= high + tolerance or not math.isfinite(nats):
        raise ValueError(f"an entropy of {nats:g} nats is out of reach; this support allows {low:.6g} … {high:.6g}")

    def tempered(log_beta: float) -> Tensor:
        return torch.softmax(math.exp(log_beta) * (log_p - log_p.max()), dim=-1)

    def excess(log_beta: float) -> float:
        return float(entropy(tempered(log_beta))) - nats

    tilted = torch.zeros_like(p)
    smallest = torch.finfo(p.dtype).tiny  # below it, a probability would vanish, and the support with it
    tilted[support] = tempered(_bracketed_root(excess, tolerance)).clamp_min(smallest)
    return tilted


def _bracketed_root(f: Callable[[float], float], tolerance: float) -> float:
    """A zero of the decreasing function f, or a point where |f| ≤ tolerance (an end of the range is a limit only)."""
    low, high = -1.0, 1.0
    while f(low) < 0 and abs(f(low)) > tolerance:
        low *= 2
    while f(high) > 0 and abs(f(high)) > tolerance:
        high *= 2
    for end in (low, high):
        if abs(f(end)) <= tolerance / 10 or (f(low) * f(high) > 0 and abs(f(end)) <= tolerance):
            return end
    return float(brentq(f, low, high, xtol=1e-14))


def _dirichlet_on(language: Language, support: np.ndarray, concentration: float, rng: np.random.Generator) -> Tensor:
    _check_concentration(concentration)
    p = torch.zeros(language.n_sentences, dtype=torch.float64)
    p[torch.from_numpy(support)] = torch.from_numpy(rng.dirichlet(np.full(len(support), concentration)))
    return _normalised(p)


def _check_concentration(concentration: float) -> None:
    if not (math.isfinite(concentration) and concentration > 0):
        raise ValueError(f"a Dirichlet concentration is positive and finite, got {concentration}")


def _normalised(p: Tensor) -> Tensor:
    return check_distribution(p / p.sum())
