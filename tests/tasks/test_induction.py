"""Induction against a search through every earlier token, and its distributions against lists of all sequences."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from entropylens.tasks.induction import (
    NO_ANSWER,
    InductionTask,
    Occurrence,
    bayes,
    chance,
    occurs_before,
    sample,
    shortcuts,
    solve,
)

Sequence = tuple[int, ...]


def random(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# ---- brute force: a search, and lists of all sequences ---------------------------------------------------------------


def brute_find(x: Sequence, i: int, occurrence: Occurrence) -> int | None:
    """The position j ≤ i right after an earlier occurrence of x_i."""
    after = [j for j in range(1, i + 1) if x[j - 1] == x[i]]
    return after[-1 if occurrence == "latest" else 0] if after else None


def brute_answer(x: Sequence, i: int, occurrence: Occurrence, hops: int = 1) -> int | None:
    at: int | None = i
    for _ in range(hops):
        at = None if at is None else brute_find(x, at, occurrence)
    return None if at is None else x[at]


def brute_sequences(task: InductionTask, length: int) -> list[Sequence]:
    """All sequences of a task, which are equally likely."""

    def belongs(x: Sequence) -> bool:
        before = x[:-1].count(x[-1])
        if not task.immediate and any(a == b for a, b in pairwise(x)):
            return False
        if task.kind == "repeat":
            return before > 0 or not task.solvable
        return before == 1 and (task.kind == "unique" or x[-1] == 0)

    return [x for x in product(range(task.vocabulary), repeat=length) if belongs(x)]


def brute_labels(task: InductionTask, length: int) -> Iterator[tuple[Sequence, int, dict[int, Fraction]]]:
    """Every scored position of every sequence, with the distribution of its label."""
    uniform = {c: Fraction(1, task.vocabulary) for c in range(task.vocabulary)}
    for x in brute_sequences(task, length):
        for i in range(length) if task.scored == "all" else [length - 1]:
            answer = brute_answer(x, i, task.occurrence, task.hops)
            if answer is not None:
                yield x, i, {answer: Fraction(1)}
            elif task.scored == "last" and task.hops == 1:
                yield x, i, uniform


def every_task(vocabulary: int) -> list[InductionTask]:
    kinds: list[dict[str, Any]] = [
        {"kind": "repeat"}, {"kind": "repeat", "solvable": False}, {"kind": "unique"}, {"kind": "trigger"},
    ]  # fmt: skip
    return [
        InductionTask(vocabulary, **kind, occurrence=occurrence, scored=scored, immediate=immediate)
        for kind in kinds
        for occurrence in ("latest", "first")
        for scored in ("last", "all")
        for immediate in (True, False)
    ]


def hopping(vocabulary: int, *hops: int) -> list[InductionTask]:
    """Every task of more than one hop."""
    return [
        InductionTask(vocabulary, "repeat", "latest", scored, immediate, solvable, hops=k)
        for k in hops
        for scored in ("last", "all")
        for immediate in (True, False)
        for solvable in (True, False)
    ]  # fmt: skip


def name(task: InductionTask) -> str:
    flags = [task.occurrence, task.scored, "immediate" * task.immediate, "unsolvable" * (not task.solvable)]
    flags += [f"{task.hops} hops"] if task.hops > 1 else []
    return "-".join([f"{task.kind}{task.vocabulary}", *filter(None, flags)])


EVERY_TASK = pytest.mark.parametrize("task", every_task(3), ids=name)
DISTRIBUTIONS = [t for v in (3, 4) for t in every_task(v) if (t.occurrence, t.scored) == ("latest", "last")]
EVERY_DISTRIBUTION = pytest.mark.parametrize("task", [*DISTRIBUTIONS, InductionTask(2, "repeat")], ids=name)


# ---- answers ---------------------------------------------------------------------------------------------------------


def check_solution(tokens: Tensor, occurrence: Occurrence, hops: int = 1) -> None:
    answers, has = solve(tokens, occurrence, hops)
    assert answers.shape == has.shape == tokens.shape
    found = [[brute_answer(tuple(x), i, occurrence, hops) for i in range(len(x))] for x in tokens.tolist()]
    assert has.tolist() == [[a is not None for a in row] for row in found]
    assert answers.tolist() == [[NO_ANSWER if a is None else a for a in row] for row in found]


@pytest.mark.parametrize("occurrence", ["latest", "first"])
@pytest.mark.parametrize(("vocabulary", "length"), [(2, 12), (4, 20), (16, 24), (64, 40)])
def test_the_solver_agrees_with_a_search(vocabulary: int, length: int, occurrence: Occurrence) -> None:
    """20,000 sequences in all, 10,000 for each occurrence."""
    check_solution(torch.randint(vocabulary, (2500, length), generator=random(length)), occurrence)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 30).flatmap(lambda n: st.lists(st.integers(-2, 9), min_size=n, max_size=n)))
def test_the_solver_agrees_with_a_search_on_anything(x: list[int]) -> None:
    for occurrence, hops in product(("latest", "first"), range(1, 5)):
        check_solution(torch.tensor([x]), occurrence, hops)  # type: ignore[arg-type]


@pytest.mark.parametrize("hops", [2, 3, 4])
@pytest.mark.parametrize(("vocabulary", "length"), [(2, 12), (4, 20), (16, 60)])
def test_several_hops_agree_with_a_search(vocabulary: int, length: int, hops: int) -> None:
    check_solution(torch.randint(vocabulary, (400, length), generator=random(length)), "latest", hops)


def test_the_answers_of_one_sequence() -> None:
    tokens, none = torch.tensor([3, 3, 1, 3, 1, 2]), NO_ANSWER
    assert solve(tokens, "latest")[0].tolist() == [none, 3, none, 1, 3, none]
    assert solve(tokens, "first")[0].tolist() == [none, 3, none, 3, 3, none]


def test_the_answers_of_one_sequence_after_several_hops() -> None:
    """Where they are found: positions 3, 4, 6, 7 at 1, 2, 3, 5; then 6 at 1, and nothing else."""
    tokens, none = torch.tensor([2, 0, 1, 2, 0, 3, 1, 0]), NO_ANSWER
    assert solve(tokens, hops=1)[0].tolist() == [none, none, none, 0, 1, none, 2, 3]
    assert solve(tokens, hops=2)[0].tolist() == [none, none, none, none, none, none, 0, none]
    assert not solve(tokens, hops=3)[1].any()


def test_a_token_that_follows_itself_is_its_own_answer_after_any_hops_and_no_other_path_comes_to_rest() -> None:
    tokens = torch.randint(3, (200, 30), generator=random(0))
    itself = torch.zeros_like(tokens, dtype=torch.bool)
    itself[:, 1:] = tokens[:, 1:] == tokens[:, :-1]
    answers, has = solve(tokens, hops=29)
    assert torch.equal(has, itself), "29 steps back from the last of 30 positions lead to the first, which has none"
    assert torch.equal(answers[itself], tokens[itself])


def test_alternating_tokens_have_as_many_hops_as_any() -> None:
    tokens = torch.tensor([0, 1] * 5)
    for hops in range(1, 9):
        assert solve(tokens, hops=hops)[1].tolist() == [i > hops for i in range(10)]
        assert InductionTask(3, "repeat", immediate=False, hops=hops).shortest == hops + 2


def test_leading_dimensions() -> None:
    tokens = torch.randint(5, (2, 3, 9), generator=random(0))
    answers, has = solve(tokens)
    for i, j in product(range(2), range(3)):
        assert torch.equal(answers[i, j], solve(tokens[i, j])[0])
        assert torch.equal(has[i, j], solve(tokens[i, j])[1])


def test_an_unknown_occurrence_is_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown occurrence 'last'; choose from latest, first"):
        solve(torch.zeros(1, 3, dtype=torch.long), "last")  # type: ignore[arg-type]


@pytest.mark.parametrize("hops", [0, -1, 1.5])
def test_no_hops_are_refused(hops: Any) -> None:
    with pytest.raises(ValueError, match=f"a whole number of at least 1, got {hops}"):
        solve(torch.zeros(1, 3, dtype=torch.long), hops=hops)


# ---- sequences -------------------------------------------------------------------------------------------------------


@EVERY_DISTRIBUTION
@pytest.mark.parametrize("length", [2, 3, 4, 5])
def test_all_sequences_of_a_task_are_equally_likely(task: InductionTask, length: int) -> None:
    if length <= task.nearest:
        return
    expected = brute_sequences(task, length)
    counts = Counter(map(tuple, sample(task, 20_000, length, random(length)).tokens.tolist()))
    assert set(counts) == set(expected)
    if len(expected) > 1:
        assert stats.chisquare([counts[x] for x in expected]).pvalue > 1e-4


@pytest.mark.parametrize("task", [*every_task(3), *hopping(3, 2, 3)], ids=name)
def test_answers_are_those_of_a_search_and_noise_is_uniform(task: InductionTask) -> None:
    batch = sample(task, 1500, 6, random(1))
    noise: Counter[int] = Counter()
    for x, row, scored in zip(batch.tokens.tolist(), batch.answers.tolist(), batch.scored.tolist(), strict=True):
        for i in range(6):
            answer = brute_answer(tuple(x), i, task.occurrence, task.hops)
            anyway = task.scored == "last" and task.hops == 1
            assert scored[i] == ((i == 5 or task.scored == "all") and (anyway or answer is not None))
            if not scored[i]:
                assert row[i] == NO_ANSWER
            elif answer is None:
                noise[(row[i] - x[i]) % 3] += 1
            else:
                assert row[i] == answer
    if not task.solvable and task.scored == "last" and task.hops == 1:
        assert stats.chisquare([noise[c] for c in range(3)]).pvalue > 1e-4
    else:
        assert not noise


@EVERY_DISTRIBUTION
@pytest.mark.parametrize("length", [100, 1500])
def test_long_sequences_are_what_they_should_be(task: InductionTask, length: int) -> None:
    tokens = sample(task, 20, length, random(2)).tokens
    before = (tokens[:, :-1] == tokens[:, -1:]).sum(-1)
    assert tokens.shape == (20, length)
    assert 0 <= int(tokens.min()) <= int(tokens.max()) < task.vocabulary
    assert len(tokens.unique(dim=0)) > 1
    if task.kind == "repeat":
        assert (before > 0).all(), "with 1500 tokens and a small vocabulary, solvable or not"
    else:
        assert (before == 1).all()
    if task.kind == "trigger":
        assert (tokens[:, -1] == 0).all()
    assert task.immediate or not (tokens[:, 1:] == tokens[:, :-1]).any()


@pytest.mark.parametrize("immediate", [True, False])
@pytest.mark.parametrize("solvable", [True, False])
def test_distances_back_are_those_of_rejection(immediate: bool, solvable: bool) -> None:
    """A large vocabulary and a moderate length, too long to list: sequences drawn token by token, then rejected."""
    v, length, n = 40, 30, 30_000
    task = InductionTask(v, "repeat", immediate=immediate, solvable=solvable)
    steps = torch.randint(0 if immediate else 1, v, (2 * n, length), generator=random(3))
    walked = steps.cumsum(-1) % v
    walked = walked[(walked[:, :-1] == walked[:, -1:]).any(-1)] if solvable else walked

    def distances(tokens: Tensor) -> np.ndarray:
        same = (tokens[:, :-1] == tokens[:, -1:]).flip(-1).int()
        back = torch.where(same.any(-1), same.argmax(-1) + 1, length)
        return torch.bincount(back, minlength=length + 1).numpy()

    table = np.stack([distances(walked), distances(sample(task, n, length, random(4)).tokens)])
    assert stats.chi2_contingency(table[:, table.sum(0) > 0]).pvalue > 1e-4


@EVERY_TASK
def test_the_generator_decides_the_batch(task: InductionTask) -> None:
    first = sample(task, 50, 20, random(7))
    torch.manual_seed(123)
    again, other = sample(task, 50, 20, random(7)), sample(task, 50, 20, random(8))
    for part in ("tokens", "answers", "scored"):
        assert torch.equal(getattr(first, part), getattr(again, part))
    assert not torch.equal(first.tokens, other.tokens)
    assert first.tokens.dtype == first.answers.dtype == torch.int64
    assert first.scored.dtype == torch.bool


@pytest.mark.parametrize("task", hopping(5, 2, 4), ids=name)
def test_hops_change_nothing_in_what_is_drawn(task: InductionTask) -> None:
    first, second = random(7), random(7)
    several, one = sample(task, 50, 20, first), sample(replace(task, hops=1), 50, 20, second)
    assert torch.equal(several.tokens, one.tokens)
    assert torch.equal(first.get_state(), second.get_state())
    assert (several.scored <= one.scored).all()
    assert 0 < int(several.scored.sum()) < int(one.scored.sum())


def test_a_seed_draws_what_it_drew_for_published_rows() -> None:
    """These were drawn before there were hops."""
    tokens = sample(InductionTask(4, "repeat", scored="all"), 2, 8, random(0)).tokens
    assert tokens.tolist() == [[3, 0, 2, 1, 2, 1, 1, 3], [3, 2, 0, 3, 1, 1, 2, 3]]
    last = sample(InductionTask(9, "repeat", solvable=False, immediate=False), 3, 4, random(1))
    assert last.tokens.tolist() == [[0, 2, 1, 2], [5, 2, 6, 5], [8, 2, 0, 8]]
    assert last.answers[:, -1].tolist() == [1, 2, 2]


@pytest.mark.parametrize("kind", ["repeat", "unique", "trigger"])
def test_nothing_quadratic_is_made(kind: Any) -> None:
    """A table of 300,000 × 300,000 would not fit into any memory."""
    batch = sample(InductionTask(1000, kind, scored="all"), 2, 300_000, random(0))
    assert batch.scored[:, -1].all()
    if kind == "repeat":
        assert sample(InductionTask(1000, kind, hops=4), 2, 300_000, random(0)).scored[:, -1].all()


# ---- accuracies ------------------------------------------------------------------------------------------------------


def lengths(task: InductionTask) -> range:
    return range(task.shortest, 7 if task.vocabulary == 3 else 6)


ACCURATE = [*every_task(3), *every_task(4), InductionTask(2, "repeat", solvable=False), *hopping(3, 2, 3, 4)]


@pytest.mark.parametrize("task", ACCURATE, ids=name)
def test_chance_and_bayes_on_all_sequences(task: InductionTask) -> None:
    """The best guess of all for every sequence and position, and the best one for all of them."""
    for length in lengths(task):
        total, seen, blind = 0, Fraction(0), Counter[int]()
        for _, _, label in brute_labels(task, length):
            total += 1
            seen += max(label.values())
            blind.update(label)
        assert bayes(task, length) == pytest.approx(float(seen / total), abs=1e-12)
        assert chance(task, length) == pytest.approx(float(max(blind.values()) / Fraction(total)), abs=1e-12)


@pytest.mark.parametrize("immediate", [True, False])
def test_how_often_the_last_token_occurs_before(immediate: bool) -> None:
    task = InductionTask(4, "repeat", immediate=immediate, solvable=False)
    for length in range(task.nearest + 1, 7):
        sequences = brute_sequences(task, length)
        expected = sum(x[-1] in x[:-1] for x in sequences) / len(sequences)
        assert occurs_before(task, length) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("occurrence", ["latest", "first"])
@pytest.mark.parametrize("immediate", [True, False])
def test_bayes_is_what_the_solver_reaches(immediate: bool, occurrence: Occurrence) -> None:
    """Where it finds nothing, the solver says 0."""
    task, n = InductionTask(50, "repeat", occurrence, immediate=immediate, solvable=False), 20_000
    batch = sample(task, n, 60, random(5))
    answers, has = solve(batch.tokens, occurrence)
    right = float((torch.where(has, answers, 0) == batch.answers)[batch.scored].double().mean())
    expected = bayes(task, 60)
    assert 0.6 < expected < 0.8
    assert abs(right - expected) < 4 * math.sqrt(expected * (1 - expected) / n)


@pytest.mark.parametrize("immediate", [True, False])
@pytest.mark.parametrize("hops", [2, 4])
def test_after_any_hops_all_answers_are_equally_likely(immediate: bool, hops: int) -> None:
    """Last answers alone: those of a sequence hang together."""
    task, v = InductionTask(8, "repeat", immediate=immediate, hops=hops), 8
    batch = sample(task, 20_000, 40, random(11))
    answers = batch.answers[:, -1][batch.scored[:, -1]]
    assert len(answers) > 10_000
    assert stats.chisquare(torch.bincount(answers, minlength=v).numpy()).pvalue > 1e-4
    assert chance(task, 40) == 1 / v


@pytest.mark.parametrize("occurrence", ["latest", "first"])
@pytest.mark.parametrize("scored", ["last", "all"])
@pytest.mark.parametrize("immediate", [True, False])
def test_chance_of_long_trigger_sequences(immediate: bool, scored: Any, occurrence: Occurrence) -> None:
    """A large vocabulary, so that few positions are scored and an answer of 0 is not rare."""
    task = InductionTask(40, "trigger", occurrence, scored, immediate)
    batch = sample(task, 40_000, 16, random(6))
    shares = torch.bincount(batch.answers[batch.scored], minlength=40) / batch.scored.sum()
    zero, others = float(shares[0]), float(shares[1:].mean())
    assert abs(chance(task, 16) - max(zero, others)) < 0.004
    assert (chance(task, 16) > 0.05) == (immediate or scored == "all"), "0 is the best guess where it may be an answer"


def brute_shortcuts(task: InductionTask, length: int) -> dict[str, float]:
    hits, total = Counter[str](), 0
    for x, i, label in brute_labels(task, length):
        so_far = Counter(x[: i + 1])
        top = [c for c, k in so_far.items() if k == max(so_far.values())]
        others = [c for c in range(task.vocabulary) if c != x[i]]
        elsewhere = brute_answer(x, i, "first" if task.occurrence == "latest" else "latest", task.hops)
        hits["itself"] += label.get(x[i], 0)
        hits["another"] += sum(label.get(c, 0) for c in others) / Fraction(len(others))
        hits["previous"] += label.get(x[i - 1], 0)
        hits["drawn"] += sum(label.get(c, 0) for c in x[: i + 1]) / Fraction(i + 1)
        hits["frequent"] += sum(label.get(c, 0) for c in top) / Fraction(len(top))
        hits["elsewhere"] += label.get(elsewhere, 0)
        total += 1
    return {shortcut: float(hit / Fraction(total)) for shortcut, hit in hits.items()}


@pytest.mark.parametrize("task", [*every_task(3), *hopping(3, 2, 3)], ids=name)
def test_shortcuts_on_all_sequences(task: InductionTask) -> None:
    n, length = 20_000, 5 if task.hops == 1 else 7
    estimated = shortcuts(task, length, random(9), n)
    expected = brute_shortcuts(task, length)
    if task.hops > 1 and task.scored == "last":
        n = int(sample(task, n, length, random(9)).scored.sum())
    assert estimated.keys() == expected.keys()
    for shortcut, accuracy in expected.items():
        assert abs(estimated[shortcut] - accuracy) < 4 * 0.5 / math.sqrt(n), shortcut
        assert not (accuracy in (0, 1) and estimated[shortcut] != accuracy), shortcut


def test_shortcuts_far_from_chance() -> None:
    """Few tokens that never repeat at once: what came before the last one is a good guess, and copying beats chance."""
    found = shortcuts(InductionTask(4, "repeat", immediate=False), 40, random(0))
    assert found["previous"] > 0.4
    assert found["another"] == pytest.approx(1 / 3, abs=1e-12)
    assert found["itself"] == 0
    plain = shortcuts(InductionTask(64, "unique"), 40, random(0))
    assert plain["drawn"] > 1.5 / 64, "in a large vocabulary, an answer is one of the few tokens seen"
    assert plain["elsewhere"] == 1, "there is one earlier occurrence only"


# ---- what is refused -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "repeats"}, r"unknown kind 'repeats'; choose from repeat, unique, trigger"),
        ({"occurrence": "last"}, r"unknown occurrence 'last'; choose from latest, first"),
        ({"scored": "both"}, r"unknown scored 'both'; choose from last, all"),
        ({"vocabulary": 1}, r"at least 2 tokens, got 1"),
        ({"vocabulary": 2, "immediate": False}, r"'repeat' with immediate=False .* at least 3 tokens, got 2"),
        ({"vocabulary": 2, "kind": "unique"}, r"'unique' with immediate=True .* at least 3 tokens, got 2"),
        ({"vocabulary": 2.5, "kind": "trigger"}, r"whole number of at least 3 tokens, got 2\.5"),
        ({"kind": "unique", "solvable": False}, r"'unique' is always solvable"),
        ({"kind": "trigger", "solvable": False}, r"'trigger' is always solvable"),
        ({"hops": 0}, r"hops are a whole number of at least 1, got 0"),
        ({"hops": 2.0}, r"hops are a whole number of at least 1, got 2\.0"),
        (
            {"hops": 2, "kind": "unique"},
            r"hops=2 needs kind 'repeat' and occurrence 'latest', got 'unique' and 'latest'",
        ),
        ({"hops": 3, "occurrence": "first"}, r"hops=3 needs kind 'repeat' .*, got 'repeat' and 'first'"),
    ],
)
def test_tasks_that_do_not_exist_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        InductionTask(**{"vocabulary": 5, "kind": "repeat", **arguments})


@pytest.mark.parametrize("task", [*every_task(3), *hopping(3, 3)], ids=name)
def test_too_short_a_length_is_refused_everywhere(task: InductionTask) -> None:
    short = task.shortest - 1
    for refuse in (
        lambda: sample(task, 2, short, random(0)),
        lambda: shortcuts(task, short, random(0)),
        lambda: chance(task, short),
        lambda: bayes(task, short),
        lambda: occurs_before(task, short),
    ):
        with pytest.raises(ValueError, match=f"length of at least {short + 1}, got {short}"):
            refuse()


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sequence, got 0"):
        sample(InductionTask(5, "repeat"), 0, 9, random(0))


def test_an_answer_from_the_wrong_place_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = solve
    monkeypatch.setattr(f"{__name__}.solve", lambda *given: right(given[0], "first", given[2]))
    with pytest.raises(AssertionError):
        test_the_solver_agrees_with_a_search(4, 20, "latest")
