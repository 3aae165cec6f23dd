"""Checks of the exercises: what they say when an answer is wrong is meant to teach.

A check takes the reader's function, tries it on cases with a known answer, and compares a wrong result with the results
of likely mistakes. An answer that raises NotImplementedError is not attempted, which is no failure: the book is
executed.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from entropylens.tasks.language import Language, entropy
from entropylens.tasks.targets import autoregressive_dirichlet, sparse_support

Answer = Callable[..., Any]


class TryAgainError(AssertionError):
    """An answer is wrong; the message says what probably happened. Jupyter shows it without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [f"✗ Not yet. {self}"]


class NotAttemptedError(Exception):
    """The answer still raises NotImplementedError."""


def exercise(verify: Callable[[Answer], str]) -> Callable[[Answer], None]:
    """Turn a function that tries an answer and returns a word of praise into the check that a notebook calls."""

    @functools.wraps(verify)
    def check(answer: Answer) -> None:
        try:
            print(f"✓ {verify(answer)}")
        except NotAttemptedError:
            print(f"○ Not attempted yet: write {answer.__name__}, then run this cell again.")

    return check


def ask(answer: Answer, *args: Any) -> Tensor:
    """The answer's result as a float64 tensor."""
    try:
        result = answer(*args)
    except NotImplementedError:
        raise NotAttemptedError from None
    if result is None:
        raise TryAgainError("Your function returns None. Is the last line missing its `return`?")
    return torch.as_tensor(result).double()


def compare(got: Tensor, right: Tensor, mistakes: Mapping[str, Tensor | float], otherwise: str) -> None:
    """Raise TryAgainError unless `got` is `right`; a mistake whose result fits is named."""
    if got.shape != right.shape:
        raise TryAgainError(f"The result has shape {tuple(got.shape)}; it should have {tuple(right.shape)}.")
    if torch.allclose(got, right, rtol=1e-6, atol=1e-9):
        return
    for message, wrong in mistakes.items():
        value = torch.as_tensor(wrong).double().expand_as(right)
        if torch.allclose(got, value, rtol=1e-6, atol=1e-9, equal_nan=True):
            raise TryAgainError(message)
    raise TryAgainError(otherwise)


# ---- chapter 1 -------------------------------------------------------------------------------------------------------


@exercise
def check_entropy(answer: Answer) -> str:
    """Exercise: the entropy of a distribution (S,) in nats, as a scalar."""
    p = torch.tensor([0.5, 0.2, 0.2, 0.1], dtype=torch.float64)
    right = entropy(p)
    mistakes = {
        "That is the entropy in bits: you took log2. This book counts in nats; use the natural logarithm.":
            right / math.log(2),
        "The sign is wrong: log p is negative or zero, so the sum needs a minus in front.": -right,
        "That is the plain mean of the surprises. Weight each surprise by how often it happens, p.": -p.log().mean(),
        "That is the sum of the surprises. Weight each surprise by how often it happens, p.": -p.log().sum(),
        "You averaged p·log p over the sentences. Entropy is a sum: the weights p already make it a mean.": right / 4,
    }  # fmt: skip
    compare(ask(answer, p), right, mistakes, f"For p = {p.tolist()} the entropy is {float(right):.4f} nats.")
    sparse = torch.tensor([0.75, 0.25, 0.0], dtype=torch.float64)
    got = ask(answer, sparse)
    if bool(got.isnan()):
        message = "An impossible sentence gave NaN: 0 · log 0 is 0 · (−∞) for a computer. Its share is 0; leave it out."
        raise TryAgainError(message)
    message = "A distribution with a zero comes out wrong. Adding a small number inside the logarithm is not exact."
    compare(got, entropy(sparse), {}, message)
    return "Right, and impossible sentences cost nothing."


@exercise
def check_chain_rule(answer: Answer) -> str:
    """Exercise: H(p) in nats from the trie's edges (N, V), as a scalar."""
    for p in (autoregressive_dirichlet(Language(3, 3), seed=5), sparse_support(Language(3, 3), 6, seed=5)):
        edges = Language(3, 3).edges(p)
        mass = edges.sum(-1)
        q = torch.where(mass[:, None] > 0, edges / mass.clamp_min(1e-300)[:, None], 0.0)
        local = -(q * torch.where(q > 0, q, 1.0).log()).sum(-1)
        mistakes: dict[str, Tensor | float] = {
            "You summed the conditional entropies of all contexts alike. Weight each by the mass that reaches it.":
                local.sum(),
            "That is the mean over contexts. Weight each context by the mass that reaches it.": local.mean(),
            "That is Σ −edge · log edge. Divide an edge by the mass of its context to get the conditional.":
                -(edges * torch.where(edges > 0, edges, 1.0).log()).sum(),
            "NaN: contexts that no sentence reaches have conditionals 0/0. They weigh nothing; leave them out.":
                math.nan,
        }  # fmt: skip
        compare(ask(answer, edges), entropy(p), mistakes, "The sum differs from the entropy of the sentences.")
    return "Right: the entropy of the sentences is the sum of the entropies of their letters, context by context."


@exercise
def check_sample_size(answer: Answer) -> str:
    """Exercise: how many sentences keep the first-order bias of H(p̂) within `nats`, as a whole number."""
    for language, k, nats in ((Language(5, 5), 500, 0.01), (Language(3, 3), 6, 0.02)):
        p = sparse_support(language, k, seed=3)
        right = math.ceil((k - 1) / (2 * nats) - 1e-9)
        mistakes: dict[str, Tensor | float] = {
            "You counted every sentence of the language. K counts only those that are possible, p > 0.":
                math.ceil((len(p) - 1) / (2 * nats) - 1e-9),
            "You used K where the bias has K − 1: the frequencies sum to 1, which leaves K − 1 free.":
                math.ceil(k / (2 * nats) - 1e-9),
            "You lost the factor 2: the bias is (K − 1) / 2N.": math.ceil((k - 1) / nats - 1e-9),
            "One short: N must be rounded up, or the bias is a little too large.": math.floor((k - 1) / (2 * nats)),
        }  # fmt: skip
        compare(ask(answer, p, nats), torch.tensor(right).double(), mistakes, "Solve (K − 1) / 2N = nats for N.")
    return "Right."


# ---- chapter 2 -------------------------------------------------------------------------------------------------------


@exercise
def check_attention(answer: Answer) -> str:
    """Exercise: what one head reads, (D,), from a query (D,), keys (n, D) and values (n, D)."""
    draw = torch.Generator().manual_seed(0)
    q = torch.randn(4, generator=draw, dtype=torch.float64)
    k, v = (torch.randn(3, 4, generator=draw, dtype=torch.float64) for _ in range(2))
    scores = k @ q
    mistakes = {
        "You left out the division of the scores by √D.": torch.softmax(scores, 0) @ v,
        "You divided by D. The scores grow like √D, so divide by √D.": torch.softmax(scores / 4, 0) @ v,
        "You multiplied by √D instead of dividing.": torch.softmax(scores * 2, 0) @ v,
        "You used the scores themselves as weights. Softmax makes them positive with sum 1.": scores / 2 @ v,
        "You averaged the keys. Weights come from keys, but what is read are the values.":
            torch.softmax(scores / 2, 0) @ k,
    }  # fmt: skip
    compare(ask(answer, q, k, v), torch.softmax(scores / 2, 0) @ v, mistakes,
             "Scores k·q / √D, softmax over the n positions, then the weighted sum of the values.")  # fmt: skip
    return "Right: a weighted mean of the values, with weights from how well each key answers the query."


@exercise
def check_dead_neurons(answer: Answer) -> str:
    """Exercise: how many neurons of (N, f) activations are zero on every context with mass (N,) above 0."""
    active = torch.tensor([[1.0, 0.0, 0.0, 2.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 3.0, 0.0]], dtype=torch.float64)
    mass = torch.tensor([0.7, 0.3, 0.0], dtype=torch.float64)
    mistakes: dict[str, Tensor | float] = {
        "You looked at all contexts. A context that the training data never reach sends no gradient.": 1.0,
        "You counted neurons that are silent on at least one context. Dead means silent on all of them.": 3.0,
        "You counted (context, neuron) pairs. Ask of each neuron whether it is zero on all contexts.": 5.0,
        "That is the share of dead neurons; the exercise asks for their number.": 0.5,
    }
    compare(ask(answer, active, mass), torch.tensor(2.0).double(), mistakes,
             "A neuron (a column) is dead if it is zero on every row whose mass is above 0.")  # fmt: skip
    return "Right: dead on what the data reach, so no gradient can revive them."


@exercise
def check_adam(answer: Answer) -> str:
    """Exercise: the step (n,) that Adam takes at time t, from all gradients (t, n) so far."""
    draw = torch.Generator().manual_seed(1)
    g = torch.randn(5, 3, generator=draw, dtype=torch.float64)
    lr, beta1, beta2, eps = 0.01, 0.9, 0.99, 1e-3
    right = _adam_step(g, lr, beta1, beta2, eps)
    m, v = _moment(g, beta1), _moment(g * g, beta2)
    c1, c2 = 1 - beta1**5, 1 - beta2**5
    mistakes = {
        "You left out the bias correction: after t steps the averages have gathered weight 1 − βᵗ only; divide by it.":
            -lr * m / (v.sqrt() + eps),
        "Is your ε inside the square root? Adam adds it to the root.": -lr * m / c1 / (v / c2 + eps).sqrt(),
        "You swapped β₁ and β₂.": _adam_step(g, lr, beta2, beta1, eps),
        "You divided by v̂; Adam divides by its square root.": -lr * m / c1 / (v / c2 + eps),
        "The sign is wrong: a step goes against the gradient.": -right,
        "v must average the squares of the gradients, not square their average.":
            -lr * m / c1 / ((_moment(g, beta2) / c2).abs() + eps),
    }  # fmt: skip
    compare(ask(answer, g, lr, [beta1, beta2], eps), right, mistakes,
             "m and v are averages that start at 0; the step is −lr · m̂ / (√v̂ + ε).")  # fmt: skip
    return "Right, to the last digit."


def _moment(x: Tensor, beta: float) -> Tensor:
    total = torch.zeros_like(x[0])
    for row in x:
        total = beta * total + (1 - beta) * row
    return total


def _adam_step(g: Tensor, lr: float, beta1: float, beta2: float, eps: float) -> Tensor:
    first, second = _moment(g, beta1) / (1 - beta1 ** len(g)), _moment(g * g, beta2) / (1 - beta2 ** len(g))
    return -lr * first / (second.sqrt() + eps)
