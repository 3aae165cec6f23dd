"""The playground's engine, in Node, against autograd, `torch.optim`'s equals and the package's measures."""

from __future__ import annotations

import pytest

from tests._trie_model import CASES, TRAININGS, Answer, Case, compare, compare_trained, in_node, passes


@pytest.fixture(scope="module")
def answers() -> dict[str, Answer]:
    got = in_node("answers(request)", [passes(case).request() for case in CASES])
    return dict(zip(map(str, CASES), got, strict=True))


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_pass_is_autograd_s(case: Case, answers: dict[str, Answer]) -> None:
    compare(case, answers[str(case)])


@pytest.fixture(scope="module")
def trained() -> dict[str, Answer]:
    got = in_node("answers(request)", [case.request() for case in TRAININGS])
    return dict(zip(map(str, TRAININGS), got, strict=True))


@pytest.mark.parametrize("case", TRAININGS, ids=str)
def test_every_optimizer_leads_where_the_package_s_leads(case: Case, trained: dict[str, Answer]) -> None:
    compare_trained(case, trained[str(case)])
