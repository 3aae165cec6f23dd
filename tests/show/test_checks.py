"""The checks of the exercises: right answers pass, mistakes are named, and blanks are no failure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from entropylens.measures.regularised import escort
from entropylens.show import checks, checks_alpha, checks_ffn, checks_neurons, checks_paths, checks_spikes

Answer = Callable[..., Any]


def blank(*_: object) -> Tensor:
    raise NotImplementedError


def entropy(p: Tensor) -> Tensor:
    possible = p[p > 0]
    return -(possible * possible.log()).sum()


def chain_rule(edges: Tensor) -> Tensor:
    mass = edges.sum(-1, keepdim=True).expand_as(edges)
    passed = edges > 0
    return -(edges[passed] * (edges[passed] / mass[passed]).log()).sum()


def sample_size(p: Tensor, nats: float) -> int:
    return -int(-(int((p > 0).sum()) - 1) // (2 * nats))


def head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    return torch.softmax(k @ q / q.shape[-1] ** 0.5, dim=0) @ v


def dead(activations: Tensor, mass: Tensor) -> int:
    return int((activations[mass > 0] == 0).all(dim=0).sum())


def adam(g: Tensor, lr: float, betas: list[float], eps: float) -> Tensor:
    theta = torch.nn.Parameter(torch.zeros_like(g[0]))
    optimizer = torch.optim.Adam([theta], lr=lr, betas=(betas[0], betas[1]), eps=eps)
    for row in g:
        before = theta.detach().clone()
        theta.grad = row.clone()
        optimizer.step()
    return theta.detach() - before


def memory(log_p: Tensor, target: Tensor, seen: Tensor) -> float:
    groups = [(log_p[target == t], seen[target == t]) for t in target.unique()]
    gaps = [float(x[s].mean() - x[~s].mean()) for x, s in groups if s.any() and not s.all()]
    return sum(gaps) / len(gaps)


def all_groups(log_p: Tensor, target: Tensor, seen: Tensor) -> Tensor:
    groups = [(log_p[target == t], seen[target == t]) for t in target.unique()]
    return torch.stack([x[s].mean() - x[~s].mean() for x, s in groups]).mean()


def running_mean(x: Tensor) -> Tensor:
    return x.cumsum(0) / torch.arange(1, len(x) + 1)[:, None]


def kl(p: Any, q: Any) -> float:
    return float((p * np.log(p / q)).sum())


def share(q: Any, target: Any, member: Any) -> float:
    return 1 - kl(member, q) / kl(target, q)


def joined(x: Tensor, heads: Tensor, logits: Tensor) -> Tensor:
    w = logits.softmax(0)
    return len(w) * (w[0] * x + (w[1:, None] * heads).sum(1))


def nearest(spikes: Any, jumps: Any) -> Any:
    return np.array([spike - min(jumps, key=lambda jump: abs(spike - jump)) for spike in spikes])


def turned(onsets: Any, block: int, turns: Any) -> list[int]:
    return sorted(int(x // block * block + (x + turns[x // block]) % block) for x in onsets)


RIGHT: list[tuple[Callable[[Answer], None], Answer]] = [
    (checks.check_entropy, entropy),
    (checks.check_chain_rule, chain_rule),
    (checks.check_sample_size, sample_size),
    (checks.check_attention, head),
    (checks.check_dead_neurons, dead),
    (checks.check_adam, adam),
    (checks_ffn.check_parameters, lambda d, f: 2 * d * f + f + d),
    (checks_ffn.check_average, running_mean),
    (checks_ffn.check_memory, memory),
    (checks_paths.check_join, joined),
    (checks_paths.check_cut, lambda e, b, a: float((e * (b - a)).sum())),
    (checks_paths.check_rename, lambda old, new: new[0] / old[0] * old[1:] / new[1:]),
    (checks_neurons.check_active, lambda x, w: float((x > 0).double().mean(1) @ w)),
    (checks_neurons.check_unreached, lambda x, w: ~(x[w > 0] > 0).any(0)),
    (checks_neurons.check_promoted, lambda w2, u: (w2 @ u) - (w2 @ u).mean(1, keepdim=True)),
    (checks_alpha.check_escort, escort),
    (checks_alpha.check_share, share),
    (checks_alpha.check_unseen, lambda q, t, seen: 1 - q[~seen].sum() / t[~seen].sum()),
    (checks_spikes.check_edge, lambda beta, lr: 2 * (1 + beta) / lr),
    (checks_spikes.check_lag, nearest),
    (checks_spikes.check_shift, turned),
]

WRONG: list[tuple[Callable[[Answer], None], Answer, str]] = [
    (checks.check_entropy, lambda p: -(p * p.log2()).sum(), "log2"),
    (checks.check_entropy, lambda p: (p * p.log()).sum(), "sign"),
    (checks.check_entropy, lambda p: -p.log().mean(), "Weight each surprise"),
    (checks.check_entropy, lambda p: -(p * p.log()).sum(), "0 · log 0"),
    (checks.check_entropy, lambda p: -(p * (p + 1e-3).log()).sum(), "is 1.2206 nats"),
    (checks.check_entropy, lambda p: -(p * p.log()), "shape"),
    (checks.check_entropy, lambda _: None, "return"),
    (checks.check_chain_rule, lambda e: -(e[e > 0] * e[e > 0].log()).sum(), "Divide an edge"),
    (checks.check_chain_rule, lambda e: -(e * (e / e.sum(-1, keepdim=True)).log()).sum(), "NaN"),
    (checks.check_sample_size, lambda p, nats: (len(p) - 1) / (2 * nats), "only those that are possible"),
    (checks.check_sample_size, lambda p, nats: -(-(int((p > 0).sum()) - 1) // nats), "factor 2"),
    (checks.check_attention, lambda q, k, v: torch.softmax(k @ q, 0) @ v, "√D"),
    (checks.check_attention, lambda q, k, _v: torch.softmax(k @ q / 2, 0) @ k, "values"),
    (checks.check_dead_neurons, lambda a, _: (a == 0).all(0).sum(), "never reach"),
    (checks.check_dead_neurons, lambda a, m: (a[m > 0] == 0).any(0).sum(), "silent on all"),
    (checks.check_adam, lambda g, lr, b, eps: adam(g, lr, [b[1], b[0]], eps), "swapped"),
    (checks.check_adam, lambda g, lr, b, eps: -adam(g, lr, b, eps), "sign"),
    (checks_ffn.check_parameters, lambda d, f: 2 * d * f, "biases: one for each neuron"),
    (checks_ffn.check_parameters, lambda d, _: 8 * d * d + 5 * d, "Use the argument f"),
    (checks_ffn.check_average, lambda x: x.mean(0).expand_as(x), "see the future"),
    (checks_ffn.check_average, lambda x: x.cumsum(0), "running sum"),
    (checks_ffn.check_memory, lambda x, _, s: x[s].mean() - x[~s].mean(), "within groups"),
    (checks_ffn.check_memory, all_groups, "Leave it out"),
    (checks_ffn.check_memory, lambda x, t, s: -memory(x, t, s), "sign"),
    (checks_paths.check_join, lambda x, o, r: joined(x, o, r) / 3, "factor 1 + H is missing"),
    (checks_paths.check_join, lambda x, o, r: joined(x, o, r) * 2 / 3, "not H"),
    (checks_paths.check_join, lambda x, o, r: 3 * (r[0] * x + (r[1:, None] * o).sum(1)), "Take their softmax"),
    (checks_paths.check_join, lambda x, o, r: x + (r[1:].softmax(0)[:, None] * o).sum(1), "over all 1 + H paths"),
    (checks_paths.check_join, lambda x, o, r: joined(x, o, r) + 0.1 * (r == 0).all(), "With all logits 0"),
    (checks_paths.check_cut, lambda e, b, a: float((e * (a - b)).sum()), "The sign"),
    (checks_neurons.check_active, lambda x, w: float((x > 0).double().mean()), "count alike"),  # noqa: ARG005
    (checks_neurons.check_active, lambda x, w: float(x.mean(1) @ w), "not the share"),
    (checks_neurons.check_active, lambda x, w: float((x > 0).double().sum(1) @ w), "Divide by how many"),
    (checks_neurons.check_active, lambda x, w: float((x <= 0).double().mean(1) @ w), "silent ones"),
    (checks_neurons.check_unreached, lambda x, w: ~(x > 0).any(0), "That is dead"),  # noqa: ARG005
    (checks_neurons.check_unreached, lambda x, w: (x[w > 0] > 0).any(0), "Turn it round"),
    (checks_neurons.check_unreached, lambda x, w: ~(x[w > 0] > 0).all(0), "in none of the reached"),
    (checks_neurons.check_promoted, lambda w2, u: w2 @ u, "common part"),
    (checks_neurons.check_promoted, lambda w2, u: (w2 @ u) - (w2 @ u).mean(0), "mean over neurons"),
    (checks_neurons.check_promoted, lambda w2, u: (w2 @ u).softmax(1), "Stay with logits"),
    (checks_paths.check_cut, lambda _, b, a: float((b - a).mean()), "average edge"),
    (checks_paths.check_cut, lambda _, b, a: float((b.exp() * (b - a)).sum()), "target's edges"),
    (checks_paths.check_cut, lambda e, b, a: float((e * (b - a)).sum()) + bool((a == b).all()), "it should be 0"),
    (checks_paths.check_rename, lambda old, new: old[1:] / new[1:], "keep up with it"),
    (checks_paths.check_rename, lambda old, new: old[0] / new[0] * new[1:] / old[1:], "Upside down"),
    (checks_paths.check_rename, lambda old, new: old[0] / new[0] * old[1:] / new[1:], "not by w₀/w₀'"),
    (checks_alpha.check_escort, lambda p, a: p ** (1 + a), "does not sum to 1"),
    (checks_alpha.check_escort, lambda p, a: p**a / (p**a).sum(), "exponent is 1 + α"),
    (checks_alpha.check_escort, lambda p, a: p ** (1 + a) / (p ** (1 + a)).sum(), "stay impossible"),
    (checks_alpha.check_share, lambda q, t, m: kl(m, q) / kl(t, q), "share that is left"),
    (checks_alpha.check_share, lambda q, t, m: 1 - kl(t, m) / kl(t, q), "to the model"),
    (checks_alpha.check_share, lambda q, t, m: 1 - kl(q, m) / kl(q, t), "other way"),
    (checks_alpha.check_unseen, lambda q, t, seen: q[~seen].sum() / t[~seen].sum(), "1 − β"),
    (checks_alpha.check_unseen, lambda q, t, seen: 1 - q[seen].sum() / t[seen].sum(), "Look at the others"),
    (checks_spikes.check_edge, lambda _, lr: 2 / lr, "plain SGD"),
    (checks_spikes.check_edge, lambda beta, lr: 2 * (1 - beta) / lr, "v brakes"),
    (checks_spikes.check_edge, lambda beta, lr: 2 / (lr * (1 - beta)), "kept nothing"),
    (checks_spikes.check_edge, lambda _, lr: 38 / lr, "Adam's"),
    (checks_spikes.check_edge, lambda _, lr: 3.8 / lr, "Use the argument"),
    (checks_spikes.check_edge, lambda beta, lr: beta / lr, "it is 190"),
    (checks_spikes.check_lag, lambda x, y: -nearest(x, y), "reversed"),
    (checks_spikes.check_lag, lambda x, y: abs(nearest(x, y)), "Keep the sign"),
    (checks_spikes.check_lag, lambda x, y: x - y[np.searchsorted(y, x) - 1], "both sides"),
    (checks_spikes.check_lag, lambda x, y: x - y[: len(x)], "the second with the second"),
    (checks_spikes.check_lag, lambda x, y: nearest(y, x), "shape"),
    (checks_spikes.check_shift, lambda x, b, t: np.sort((x + t[0]) % (b * len(t))), "by one number"),
    (checks_spikes.check_shift, lambda x, b, t: np.sort(x + t[x // b]), "leave their block"),
    (checks_spikes.check_shift, lambda x, b, t: np.sort((x + t[x // b]) % (b * len(t))), "The circle is the block"),
    (checks_spikes.check_shift, lambda x, b, t: np.sort(x // b * b + (x + t) % b), "on its own"),
    (checks_spikes.check_shift, lambda x, b, t: np.sort((x + t[x // b]) % b), "block begins"),
    (checks_spikes.check_shift, lambda x, b, t: x // b * b + (x + t[x // b]) % b, "sort them"),
    (checks_spikes.check_shift, lambda x, _b, _t: x, "it is [25, 35, 90"),
]


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_a_right_answer_passes(
    check: Callable[[Answer], None], answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    check(answer)
    assert capsys.readouterr().out.startswith("✓ Right")


@pytest.mark.parametrize(("check", "answer"), RIGHT)
def test_a_blank_is_told_and_does_not_fail(
    check: Callable[[Answer], None], answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    del answer
    check(blank)
    assert "write blank" in capsys.readouterr().out


@pytest.mark.parametrize(("check", "answer", "hint"), WRONG)
def test_a_mistake_is_named(check: Callable[[Answer], None], answer: Answer, hint: str) -> None:
    with pytest.raises(checks.TryAgainError) as caught:
        check(answer)
    assert hint in str(caught.value)
    assert caught.value._render_traceback_() == [f"✗ Not yet. {caught.value}"]
