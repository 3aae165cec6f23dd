"""What the checks of chapter 9 say to likely mistakes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from entropylens.models.looped import LoopedConfig
from entropylens.show.checks import TryAgainError
from entropylens.show.checks_looped import Block, check_answer, check_chance, check_loop
from entropylens.tasks.induction import InductionTask, sample, solve

Search = Callable[[Tensor], int | Tensor | None]
Loop = Callable[[Block, Tensor, int], Tensor]
Guess = Callable[[Tensor, Tensor], float | Tensor]


def matches(tokens: Tensor) -> Tensor:
    return torch.nonzero(tokens[:-1] == tokens[-1])[:, 0]


def right_answer(tokens: Tensor) -> Tensor:
    return tokens[matches(tokens)[-1] + 1]


def right_loop(f: Block, x: Tensor, n_loops: int) -> Tensor:
    z = torch.zeros_like(x)
    for _ in range(n_loops):
        z = z + f(z + x)
    return z


def right_chance(tokens: Tensor, answers: Tensor) -> float:
    guesses = [max(sorted(set(row)), key=row.count) for row in tokens.tolist()]
    return sum(g == a for g, a in zip(guesses, answers.tolist(), strict=True)) / len(answers)


def blank(*_: object) -> Tensor:
    raise NotImplementedError


@pytest.mark.parametrize(
    ("check", "right"),
    [
        (check_answer, right_answer),
        (check_answer, lambda tokens: solve(tokens)[0][-1]),
        (check_answer, lambda tokens: int(right_answer(tokens))),
        (check_loop, right_loop),
        (check_chance, right_chance),
        (check_chance, lambda tokens, answers: (tokens.mode(-1).values == answers).float().mean()),
    ],
)
def test_right_answers_are_praised(
    check: Callable[[Callable[..., object]], None], right: Callable[..., object], capsys: pytest.CaptureFixture[str]
) -> None:
    check(right)
    assert capsys.readouterr().out.startswith("✓ Right")


@pytest.mark.parametrize("check", [check_answer, check_loop, check_chance])
def test_a_blank_is_no_failure(
    check: Callable[[Callable[..., object]], None], capsys: pytest.CaptureFixture[str]
) -> None:
    check(blank)
    assert "write blank" in capsys.readouterr().out


def test_the_answer_is_that_of_the_task() -> None:
    batch = sample(InductionTask(6, "repeat"), 50, 12, torch.Generator().manual_seed(1))
    assert [int(right_answer(row)) for row in batch.tokens] == batch.answers[:, -1].tolist()


@pytest.mark.parametrize("norm", ["none", "pre", "post"])
def test_the_loop_is_that_of_the_model(norm: str) -> None:
    config = LoopedConfig(5, d_model=4, n_loops=3, norm=norm)  # type: ignore[arg-type]
    model = config.build(torch.Generator().manual_seed(0)).double()
    x = model.embed(torch.tensor([[0, 3, 1, 3]]))
    torch.testing.assert_close(right_loop(model.blocks[0], x, 3), model.run(x))


def _not_at_the_start(tokens: Tensor) -> Tensor | None:
    for j in range(len(tokens) - 2, 0, -1):
        if tokens[j] == tokens[-1]:
            return tokens[j + 1]
    return None


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda tokens: tokens[matches(tokens)[0] + 1], "search backwards"),
        (lambda tokens: tokens[torch.nonzero(tokens == tokens[-1])[-1, 0] + 1], "Past the end"),
        (lambda tokens: tokens.roll(-1)[tokens == tokens[-1]][-1], "wrapped around"),
        (lambda tokens: matches(tokens)[-1], "position of the occurrence"),
        (lambda tokens: matches(tokens)[-1] + 1, "position of the answer"),
        (lambda tokens: tokens[matches(tokens)[-1]], "the token you searched for"),
        (lambda tokens: tokens[matches(tokens)[-1] - 1], "Off by one"),
        (lambda tokens: tokens[-2], "the token before the last"),
        (lambda _: 99, "at position 6"),
        (lambda _: None, "return"),
        (_not_at_the_start, "reach it"),
        (lambda tokens: right_answer(torch.cat([tokens[:-2], tokens[-1:]])) if tokens[-2] == tokens[-1] else
         right_answer(tokens), "follows itself"),
        (lambda tokens: tokens[matches(tokens)[-1:] + 1], "shape"),
    ],
)  # fmt: skip
def test_mistakes_about_the_answer_are_named(wrong: Search, says: str) -> None:
    with pytest.raises(TryAgainError, match=says):
        check_answer(wrong)


def _loop(step: Callable[[Block, Tensor, Tensor], Tensor], start: int = 0, more: int = 0) -> Loop:
    """A loop with another step, from `start` times X, and with more loops."""

    def loop(f: Block, x: Tensor, n_loops: int) -> Tensor:
        z = start * x
        for _ in range(n_loops + more):
            z = step(f, z, x)
        return z

    return loop


def _in_place(f: Block, x: Tensor, n_loops: int) -> Tensor:
    z = x
    for _ in range(n_loops):
        z += f(z + x)
    return z


def _x_once(f: Block, x: Tensor, n_loops: int) -> Tensor:
    z = f(x)
    for _ in range(n_loops - 1):
        z = z + f(z)
    return z


def _from_the_first(f: Block, x: Tensor, n_loops: int) -> Tensor:
    z = f(x)
    for _ in range(n_loops - 1):
        z = z + f(z + x)
    return z


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (_loop(lambda f, z, x: f(z + x)), "residual is missing"),
        (_loop(lambda f, z, _: z + f(z)), "no way in"),
        (_loop(lambda f, z, _: f(z)), "no way in"),
        (_x_once, "first loop only"),
        (_loop(lambda f, z, x: z + f(z + x), start=1), "started at X"),
        (_loop(lambda f, z, _: z + f(z), start=1), "Or start at X"),
        (lambda f, x, n: right_loop(f, x, n) + x, "add X at the end"),
        (_loop(lambda f, z, x: z + x + f(z + x)), "to the state, too"),
        (_loop(lambda f, z, x: z + f(z) + x), "beside f"),
        (_loop(lambda f, z, x: z + f(z + x), more=-1), "too few"),
        (_loop(lambda f, z, x: z + f(z + x), more=1), "too many"),
        (lambda f, x, _: f(x), "single loop"),
        (_in_place, "no copy"),
        (_from_the_first, "Without a loop"),
        (_loop(lambda f, z, x: z - f(z + x)), "after two"),
        (lambda f, x, n: torch.stack([right_loop(f, x, t) for t in range(n + 1)]), "shape"),
    ],
)
def test_mistakes_about_the_loop_are_named(wrong: Loop, says: str) -> None:
    with pytest.raises(TryAgainError, match=says):
        check_loop(wrong)


def _guess(pick: Callable[[list[int]], int]) -> Guess:
    """The accuracy of a guess from a sequence."""

    def accuracy(tokens: Tensor, answers: Tensor) -> Tensor:
        return (torch.tensor([pick(row) for row in tokens.tolist()]) == answers).double().mean()

    return accuracy


def _compared_with_the_last(tokens: Tensor, _: Tensor) -> float:
    return right_chance(tokens, tokens[:, -1])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        (lambda tokens, answers: (answers == tokens.flatten().mode().values).double().mean(), "whole batch"),
        (lambda _, answers: (answers == answers.mode().values).double().mean(), "most frequent answer"),
        (_guess(lambda row: min(range(5), key=row.count)), "least frequent"),
        (_guess(lambda row: max(range(5), key=row[:-1].count)), "left out the last"),
        (_guess(lambda row: max(range(4, -1, -1), key=row.count)), "take the largest"),
        (_guess(lambda row: Counter(row).most_common(1)[0][0]), "seen first"),
        (_compared_with_the_last, "with the last token"),
        (_guess(lambda row: row[-1]), "last token itself"),
        (_guess(lambda row: row[-2]), "Here it is"),
        (lambda tokens, answers: len(answers) * right_chance(tokens, answers), "Divide"),
        (lambda tokens, answers: 1 - right_chance(tokens, answers), "wrong guesses"),
        (lambda tokens, _: (tokens == tokens.mode(-1, keepdim=True).values).double().mean(), "on average"),
        (lambda tokens, answers: tokens.mode(-1).values == answers, "shape"),
    ],
)
def test_mistakes_about_the_shortcut_are_named(wrong: Guess, says: str) -> None:
    with pytest.raises(TryAgainError, match=says):
        check_chance(wrong)
