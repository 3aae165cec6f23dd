"""Every update rule against `torch.optim`, step for step, with members of different rules and numbers side by side."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from entropylens.training import optimizers
from entropylens.training.optimizers import COLUMNS, RULES, OptimizerConfig, PopulationOptimizer, Rows, State

STEPS = 50
SGD = [
    OptimizerConfig("sgd", lr=0.05),
    OptimizerConfig("sgd", lr=0.02, momentum=0.9),
    OptimizerConfig("sgd", lr=0.03, momentum=0.5, weight_decay=0.1),
]
RMSPROP = [
    OptimizerConfig("rmsprop", lr=0.01, beta2=0.99),
    OptimizerConfig("rmsprop", lr=0.003, beta2=0.9, momentum=0.9, eps=1e-3),
    OptimizerConfig("rmsprop", lr=0.01, beta2=0.999, momentum=0.3, weight_decay=0.2),
]
ADAM = [
    OptimizerConfig("adam", lr=0.01),
    OptimizerConfig("adam", lr=0.02, beta1=0.0, beta2=0.9, eps=1e-4),
    OptimizerConfig("adam", lr=0.005, beta1=0.99, beta2=0.5, weight_decay=0.3),
    OptimizerConfig("adam", lr=0.01, beta2=0.0, eps=0.1),
]
ADAMW = [
    OptimizerConfig("adamw", lr=0.01),
    OptimizerConfig("adamw", lr=0.02, beta1=0.8, beta2=0.95, eps=1e-6, weight_decay=0.5),
    OptimizerConfig("adamw", lr=0.1, weight_decay=0.01),
]
POPULATIONS = {
    "sgd": SGD, "rmsprop": RMSPROP, "adam": ADAM, "adamw": ADAMW,
    "neighbours": SGD + RMSPROP + ADAM + ADAMW,
    "mixed": [ADAM[2], SGD[1], ADAM[1], RMSPROP[1], ADAMW[1], SGD[2], RMSPROP[2], ADAM[0]],
    "scheduled": [
        OptimizerConfig("sgd", lr=0.05, momentum=0.9, final_lr=0.0),
        OptimizerConfig("adam", lr=0.01, final_lr=0.1),
        OptimizerConfig("adamw", lr=0.02, weight_decay=0.4, final_lr=0.5),
        OptimizerConfig("rmsprop", lr=0.01, final_lr=0.0),
        OptimizerConfig("adam", lr=0.01),
    ],
}  # fmt: skip


def torch_optimizer(c: OptimizerConfig, parameters: list[Tensor]) -> torch.optim.Optimizer:
    """The same member, as everybody else would train it."""
    common: dict[str, Any] = {"lr": c.lr, "weight_decay": c.weight_decay}
    if c.name == "sgd":
        return torch.optim.SGD(parameters, momentum=c.momentum, **common)
    if c.name == "rmsprop":
        return torch.optim.RMSprop(parameters, alpha=c.beta2, eps=c.eps, momentum=c.momentum, **common)
    kind = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[c.name]
    return kind(parameters, betas=(c.beta1, c.beta2), eps=c.eps, **common)


def start(members: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(members, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)


def gradient(theta: Tensor, step: int) -> Tensor:
    """Of nothing in particular: curved, different at each step, large in one coordinate and small in another."""
    scale = torch.logspace(-3, 1, theta.shape[-1], dtype=theta.dtype)
    return scale * (torch.sin(3 * theta + step) + 0.5 * theta)


@pytest.mark.parametrize("name", POPULATIONS)
def test_every_step_is_that_of_torch_optim(name: str) -> None:
    configs = POPULATIONS[name]
    theta = start(len(configs))
    ours = PopulationOptimizer(configs, theta, STEPS)
    theirs = [row.clone().requires_grad_() for row in theta]
    optimizers = [torch_optimizer(c, [row]) for c, row in zip(configs, theirs, strict=True)]
    schedules = [
        torch.optim.lr_scheduler.CosineAnnealingLR(o, T_max=STEPS - 1, eta_min=c.final_lr * c.lr)
        for c, o in zip(configs, optimizers, strict=True)
    ]
    for step in range(STEPS):
        ours.step(gradient(theta, step))
        for row, optimizer, schedule in zip(theirs, optimizers, schedules, strict=True):
            row.grad = gradient(row.detach(), step)
            optimizer.step()
            schedule.step()
        worst = (theta - torch.stack(theirs).detach()).abs().amax(-1)
        assert float(worst.max()) < 1e-12, f"step {step + 1}: {worst.tolist()}"


@pytest.mark.parametrize("beta2", [0.99, 0.9999, 0.99999])
@pytest.mark.parametrize("name", ["rmsprop", "adam", "adamw"])
def test_float32_does_not_round_the_betas(name: str, beta2: float) -> None:
    """1 − 0.99999 in float32 is off by a thousandth; torch.optim takes it in float64."""
    config = OptimizerConfig(name, lr=0.01, beta2=beta2)
    theta = start(1, torch.float32)
    row = theta[0].clone().requires_grad_()
    ours, theirs = PopulationOptimizer([config], theta, STEPS), torch_optimizer(config, [row])
    for _ in range(STEPS):
        fixed = gradient(start(1, torch.float32), 0)
        ours.step(fixed)
        row.grad = fixed[0].clone()
        theirs.step()
    travelled = (row.detach() - start(1, torch.float32)[0]).abs()
    assert float(((theta[0] - row.detach()).abs() / travelled).max()) < 2e-6


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_neighbours_do_not_change_a_member(dtype: torch.dtype) -> None:
    configs = POPULATIONS["mixed"]
    together = start(len(configs), dtype)
    optimizer = PopulationOptimizer(configs, together)
    alone = [row.clone()[None] for row in together]
    singles = [PopulationOptimizer([c], row) for c, row in zip(configs, alone, strict=True)]
    for step in range(10):
        optimizer.step(gradient(together, step))
        for row, single in zip(alone, singles, strict=True):
            single.step(gradient(row, step))
    assert torch.equal(together, torch.cat(alone))


def test_nan_stays_with_its_member() -> None:
    configs = [ADAM[0], ADAM[1], SGD[1], SGD[2]]
    results = []
    for poison in (0.0, torch.nan):
        theta = start(4)
        optimizer = PopulationOptimizer(configs, theta)
        for step in range(5):
            grad = gradient(theta, step)
            grad[[1, 2]] += poison
            optimizer.step(grad)
        results.append(theta)
    assert torch.equal(results[0][[0, 3]], results[1][[0, 3]])
    assert results[1][[1, 2]].isnan().all()


def test_a_cosine_ends_where_it_should() -> None:
    """With a gradient of 1, SGD shows its learning rate."""
    theta = torch.zeros(2, 1, dtype=torch.float64)
    optimizer = PopulationOptimizer([OptimizerConfig("sgd", lr=2.0, final_lr=f) for f in (0.25, 1.0)], theta, 5)
    rates = []
    for _ in range(5):
        before = theta.clone()
        optimizer.step(torch.ones(2, 1, dtype=torch.float64))
        rates.append((before - theta)[:, 0].tolist())
    assert [r[1] for r in rates] == pytest.approx([2.0] * 5, abs=1e-14)
    assert [rates[0][0], rates[2][0], rates[4][0]] == pytest.approx([2.0, 1.25, 0.5], abs=1e-14)


@pytest.mark.parametrize(("fields", "message"), [
    ({"name": "adan"}, "unknown optimizer 'adan'; choose from sgd, rmsprop, adam, adamw"),
    ({"lr": -1e-3}, "lr must be a finite number ≥ 0, got -0.001"),
    ({"lr": float("nan")}, "lr must be a finite number"),
    ({"eps": float("inf")}, "eps must be a finite number"),
    ({"weight_decay": -0.1}, "weight_decay must be"),
    ({"momentum": 1.0}, "momentum must be below 1, got 1.0"),
    ({"beta1": 1.0}, "beta1 must be below 1"),
    ({"beta2": 1.5}, "beta2 must be below 1, got 1.5"),
])  # fmt: skip
def test_bad_numbers_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OptimizerConfig(**fields)


def test_one_configuration_a_member() -> None:
    with pytest.raises(ValueError, match="2 optimizers for 3 members"):
        PopulationOptimizer([OptimizerConfig()] * 2, start(3))


@pytest.mark.parametrize("config", [SGD[0], SGD[1], ADAM[0], replace(ADAMW[1], weight_decay=0.0), RMSPROP[0]])
def test_a_bowl_steeper_than_the_stability_edge_throws_it_out(config: OptimizerConfig) -> None:
    """On ½ λ x², with what the gradient is divided by held at 1, as the edge assumes."""
    sizes = []
    for factor in (0.95, 1.05):
        curvature = factor * config.stability_edge
        theta = torch.ones(1, 1, dtype=torch.float64)
        optimizer = PopulationOptimizer([replace(config, eps=0.0)], theta)
        optimizer.step_number.fill_(1e6)  # past the bias correction
        for _ in range(2000):
            optimizer.second.fill_(1.0)
            columns = optimizer.columns()
            columns[:, COLUMNS.index("beta2")], columns[:, COLUMNS.index("1 - beta2")] = 1.0, 0.0
            optimizer.apply(curvature * theta, columns)
        sizes.append(float(theta.abs()))
    assert sizes[0] < 1e-3
    assert not sizes[1] < 1e3  # or has left the numbers


def test_a_restored_state_goes_on_as_if_nothing_had_happened() -> None:
    """In another order, and with members that have come to different steps."""
    configs = POPULATIONS["mixed"]
    theta = start(len(configs))
    optimizer, states = PopulationOptimizer(configs, theta, STEPS), []
    for step in range(13):
        states.append(optimizer.state())
        optimizer.step(gradient(theta, step))
    order, taken = [7, 2, 4], [5, 9, 5]
    begun = State.join([states[step][[member]] for member, step in zip(order, taken, strict=True)])
    other = torch.zeros(3, 7, dtype=torch.float64)
    again = PopulationOptimizer([configs[m] for m in order], other, STEPS)
    again.restore(begun)
    for ahead in range(3):
        grads = [gradient(other[i : i + 1], step + ahead) for i, step in enumerate(taken)]
        again.step(torch.cat(grads))
    for row, (member, step) in enumerate(zip(order, taken, strict=True)):
        assert torch.equal(other[row], states[step + 3].theta[member]), (member, step)


def test_the_divisor_is_what_the_gradient_was_divided_by() -> None:
    """With β₁ = 0 and no momentum, an update is η g over it."""
    configs = [SGD[0], RMSPROP[0], OptimizerConfig("adam", lr=0.02, beta1=0.0, beta2=0.9, eps=1e-2)]
    theta = start(3)
    optimizer = PopulationOptimizer(configs, theta)
    with pytest.raises(ValueError, match="before the first update"):
        optimizer.divisor()
    for step in range(4):
        grad, before = gradient(theta, step), theta.clone()
        optimizer.step(grad)
        lr = torch.tensor([[c.lr] for c in configs], dtype=torch.float64)
        torch.testing.assert_close(optimizer.divisor(), lr * grad / (before - theta), rtol=1e-9, atol=0)
    second = optimizer.second_moment(optimizer.columns())
    assert second[0].abs().max() == 0
    assert (second[1:] > 0).all()


def _without_correction(r: Rows) -> None:
    r.columns[:, COLUMNS.index("1 - beta1^t")] = 1.0
    optimizers.adam(r)


def _epsilon_within(r: Rows) -> None:
    r.second.mul_(r["beta2"]).add_(r["1 - beta2"] * r.grad * r.grad)
    r.theta.sub_(r["lr"] * r.grad / (r.second + r["eps"]).sqrt())


@pytest.mark.parametrize(
    ("name", "wrong"),
    [("adam", _without_correction), ("rmsprop", _epsilon_within), ("adamw", RULES["adam"]), ("sgd", RULES["rmsprop"])],
)
def test_a_planted_fault_is_found(name: str, wrong: Callable[[Rows], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(RULES, name, wrong)
    with pytest.raises(AssertionError, match="step 1"):
        test_every_step_is_that_of_torch_optim(name)
