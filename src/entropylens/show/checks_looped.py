"""The checks of chapter 9's exercises."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from entropylens.show.checks import TryAgainError, ask, compare, exercise
from entropylens.tasks.induction import InductionTask, chance, sample

Block = Callable[[Tensor], Tensor]


@exercise
def check_answer(answer: Callable[[Tensor], int | Tensor]) -> str:
    """Exercise: the token that followed the latest earlier occurrence of the last token, (n) to a scalar."""
    tokens = torch.tensor([12, 9, 14, 11, 14, 10, 14, 15, 13, 14])
    first, latest = 2, 6
    mistakes: dict[str, Tensor | float] = {
        "That followed the first occurrence. The latest one counts; search backwards.": tokens[first + 1],
        "You found the last token itself, and what comes after it, wrapped around, is the first. Search before it.":
            tokens[0],
        "That is the position of the occurrence. Return the token after it.": latest,
        "That is the position of the answer. Return the token that stands there.": latest + 1,
        "That is the token you searched for. Return the one after it.": tokens[latest],
        "Off by one: that came before the occurrence. The answer came after it.": tokens[latest - 1],
        "That is the token before the last. Find where the last token occurred earlier, and what followed it there.":
            tokens[-2],
    }  # fmt: skip
    try:
        got = ask(answer, tokens)
    except IndexError:
        message = "Past the end: you found the last token itself, which nothing follows. Search only before it."
        raise TryAgainError(message) from None
    right = tokens[latest + 1].double()
    told = f"For {tokens.tolist()} it is {int(right)}, which came after the {int(tokens[-1])} at position {latest}."
    compare(got, right, mistakes, told)
    _check_ends(answer)
    return "Right: look for the token, and copy what came next. That is all of induction."


def _check_ends(answer: Callable[[Tensor], int | Tensor]) -> None:
    """Raise TryAgainError unless a search that is right in the middle finds the two ends of where it has to look."""
    for sequence, right, why in (
        ([13, 10, 12, 13], 10, "the only earlier occurrence is at position 0. Does your search reach it?"),
        ([11, 15, 10, 15, 15], 15, "the token came right before, too: it follows itself, and is its own answer."),
    ):
        message = f"For {sequence} it is {right}: {why}"
        try:
            got = ask(answer, torch.tensor(sequence))
        except (IndexError, TryAgainError):  # nothing found: a look past the end, or None
            raise TryAgainError(message) from None
        compare(got, torch.tensor(right).double(), {}, message)


@exercise
def check_loop(answer: Callable[[Block, Tensor, int], Tensor]) -> str:
    """Exercise: Z_T of Z_{t+1} = Z_t + f(Z_t + X) from Z_0 = 0, with f and X (n, d) and T given: (n, d)."""
    random = torch.Generator().manual_seed(9)
    x, w = torch.randn(3, 4, generator=random).double(), torch.randn(4, 4, generator=random).double()

    def f(y: Tensor) -> Tensor:
        return torch.tanh(y @ w)

    given, zero, n_loops = x.clone(), torch.zeros_like(x), 4
    got = ask(answer, f, given, n_loops)
    if not torch.equal(given, x):
        message = "Your loop wrote into x: `z = x` makes no copy, and += changes both. X is the same in every loop."
        raise TryAgainError(message)
    right = _repeat(lambda z: z + f(z + x), zero, n_loops)
    told = f"After one loop it is f(X), after two f(X) + f(f(X) + X); you were asked for {n_loops}."
    compare(got, right, _loops_gone_wrong(f, x, n_loops), told)
    compare(ask(answer, f, x.clone(), 0), zero, {}, "Without a loop nothing has happened: it should be Z_0 = 0.")
    return "Right. With Y = Z + X it is Y ← Y + f(Y) from Y = X, the layers of a transformer with the same weights."


def _repeat(step: Block, z: Tensor, times: int) -> Tensor:
    for _ in range(times):
        z = step(z)
    return z


def _loops_gone_wrong(f: Block, x: Tensor, n_loops: int) -> dict[str, Tensor | float]:
    """What likely mistakes return, by what is to be said to them."""
    zero = torch.zeros_like(x)

    def right(z: Tensor) -> Tensor:
        return z + f(z + x)

    return {
        "The residual is missing: that is Z ← f(Z + X), in which a state forgets what it was. Add f to Z.":
            _repeat(lambda z: f(z + x), zero, n_loops),
        "f sees Z alone, which starts at 0: X has no way in. It enters at every loop, f(Z + X).":
            _repeat(lambda z: z + f(z), zero, n_loops),
        "X enters at the first loop only. It is added to what f sees at every loop.":
            _repeat(lambda z: z + f(z), f(x), n_loops - 1),
        "You started at X. The state starts at 0; X comes in through f.": _repeat(right, x, n_loops),
        "That is Z_T + X. Did you add X at the end? Or start at X, with Z + f(Z)? That loop has Z + X for a state, and "
        "is otherwise the same; but X is no part of what is read.": _repeat(right, zero, n_loops) + x,
        "You added X to the state, too. Only f sees Z + X; what it returns is added to Z.":
            _repeat(lambda z: z + x + f(z + x), zero, n_loops),
        "You added X beside f. It belongs inside, f(Z + X).": _repeat(lambda z: z + f(z) + x, zero, n_loops),
        "One loop too few. range(n_loops) has n_loops elements.": _repeat(right, zero, n_loops - 1),
        "One loop too many. range(n_loops + 1), or a first step before the loop?": _repeat(right, zero, n_loops + 1),
        "That is a single loop. Is `return` inside the loop, or Z reset in it?": f(x),
    }  # fmt: skip


@exercise
def check_chance(answer: Callable[[Tensor, Tensor], float | Tensor]) -> str:
    """Exercise: how often the most frequent token of (B, n), of several the smallest, is the answer (B), a scalar."""
    task = InductionTask(vocabulary=5, kind="repeat")
    batch = sample(task, 1000, 9, torch.Generator().manual_seed(9))
    tokens, answers = batch.tokens, batch.answers[:, -1]
    guesses = one_hot(tokens, task.vocabulary).sum(1).argmax(-1)
    right = _share(guesses == answers)
    told = (
        f"Here it is {float(right):g}. Guess the most frequent token of each sequence, for {tokens[0].tolist()} "
        f"it is {int(guesses[0])}, and return the share of guesses that are the answer."
    )
    compare(ask(answer, tokens, answers), right, _guesses_gone_wrong(tokens, answers, guesses), told)
    return f"Right: {float(right):.0%} without any induction; the same guess for all has {chance(task, 9):.0%}."


def _share(hits: Tensor) -> Tensor:
    return hits.double().mean()


def _guesses_gone_wrong(tokens: Tensor, answers: Tensor, guesses: Tensor) -> dict[str, Tensor | float]:
    """What likely mistakes return, by what is to be said to them."""
    counts = one_hot(tokens).sum(1)
    largest = counts.shape[1] - 1 - counts.flip(-1).argmax(-1)
    seen_first = torch.tensor([Counter(row).most_common(1)[0][0] for row in tokens.tolist()])
    hits = guesses == answers
    return {
        "You counted over the whole batch, and guess one token for all. Count each sequence on its own.":
            _share(answers == counts.sum(0).argmax()),
        "You guess the most frequent answer. A guess may see the sequence, and not the answers.":
            _share(answers == answers.bincount().argmax()),
        "You guess the last token itself. Guess the most frequent token of the sequence.":
            _share(answers == tokens[:, -1]),
        "You guess the least frequent token. Take the largest count.": _share(answers == counts.argmin(-1)),
        "You left out the last token. It is part of the sequence, and is counted like the others.":
            _share(answers == one_hot(tokens[:, :-1]).sum(1).argmax(-1)),
        "Of several tokens that are equally frequent you take the largest. Take the smallest.":
            _share(answers == largest),
        "Of several tokens that are equally frequent you take the one seen first, as Counter does. Take the smallest.":
            _share(answers == seen_first),
        "You compare the guess with the last token. The answer is what comes after it, in `answers`.":
            _share(guesses == tokens[:, -1]),
        "That is how frequent the most frequent token is, on average. Ask how often it is the answer.":
            counts.amax(-1).double().mean() / tokens.shape[1],
        "That is how many guesses are right. Divide by the number of sequences.": hits.sum(),
        "That is the share of wrong guesses.": 1 - _share(hits),
    }  # fmt: skip
