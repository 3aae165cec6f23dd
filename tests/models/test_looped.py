"""The looped transformer against its formulas, written out here for one sequence at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.func import functional_call

from entropylens.models import looped
from entropylens.models.looped import LoopedConfig, LoopedTransformer, LoopTrace, energy_gradient, settle, sinusoids

CONFIGS = [
    LoopedConfig(5, n_loops=3),
    LoopedConfig(5, n_loops=3, norm="pre", hint=True),
    LoopedConfig(5, d_model=6, n_loops=3, norm="none", causal=False, d_ff=0),
    LoopedConfig(5, n_loops=5, n_blocks=2, d_ff=7),
    LoopedConfig(5, n_loops=3, residual=False),
    LoopedConfig(5, n_loops=3, step_size=0.3),
    LoopedConfig(5, n_loops=3, n_heads=4, norm="pre"),
    LoopedConfig(5, d_model=6, n_loops=3, n_heads=2, causal=False),
    LoopedConfig(5, n_loops=4, n_heads=2, update="gated", step_size=2.0),
    LoopedConfig(5, n_loops=4, update="gated"),
    LoopedConfig(5, n_loops=4, update="gated", causal=False, n_blocks=2),
    LoopedConfig(5, n_loops=4, update="gated", gate="constant", start="input"),
    LoopedConfig(5, n_loops=4, update="gated", gate="sharp"),
    LoopedConfig(5, n_loops=4, update="gated", gate="diffuse", norm="pre"),
    LoopedConfig(5, n_loops=4, update="gated", gate="exponential", causal=False),
    LoopedConfig(5, n_loops=4, update="gated", gate="open", d_ff=0),
    LoopedConfig(5, n_loops=4, update="hamiltonian", temperature=0.7),
    LoopedConfig(5, n_loops=4, update="hamiltonian", norm="pre", causal=False),
]
SYMBOLS = torch.tensor([[0, 1, 1, 4, 2, 0, 3], [3, 3, 2, 0, 1, 4, 3]])


def random_model(config: LoopedConfig, seed: int = 0, scale: float = 0.3) -> LoopedTransformer:
    """A model in float64 none of whose parameters has a special value."""
    generator = torch.Generator().manual_seed(seed)
    model = config.build(generator).double()
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn(p.shape, generator=generator, dtype=torch.float64), alpha=scale)
    return model


# ---- the whole model, in loops over tokens ------------------------------------------------------------------------


def normalised(x: Tensor, p: dict[str, Tensor], name: str) -> Tensor:
    """(d,) layer norm."""
    scaled = (x - x.mean()) / (x.var(correction=0) + 1e-5).sqrt()
    return scaled * p[f"{name}.gain"][0] + p[f"{name}.bias"][0]


def gate_by_hand(c: LoopedConfig, p: dict[str, torch.Tensor], row: torch.Tensor) -> torch.Tensor | float:
    """Of one token, from what it sees."""
    entropy, most = 2 * (1 - (row**1.5).sum()), 2 * (1 - len(row) ** -0.5)
    h = entropy / most if len(row) > 1 else 0.0
    if c.gate == "learned":
        a, b = p["gate"][0]
        return 1 / (1 + (-(a + b * h)).exp())
    if c.gate == "constant":
        return 1 / (1 + (-p["gate"][0, 0]).exp())
    return {"open": 1.0, "sharp": 1 - h, "diffuse": h, "exponential": (-entropy).exp()}[c.gate]


def block_by_token(c: LoopedConfig, p: dict[str, Tensor], block: str, ys: list[Tensor]) -> tuple[list[Tensor], Tensor]:
    """F of the tokens' states (d,), and the attention rows (n, n), averaged over heads."""
    matrices, each = p[f"{block}.qkv"].chunk(3, dim=1), c.d_model // c.n_heads
    seen = [normalised(y, p, f"{block}.norm_in") if c.norm == "pre" else y for y in ys]
    rows, out = torch.zeros(len(ys), len(ys), dtype=torch.float64), []
    for i, y in enumerate(seen):
        others = range(i + 1 if c.causal else len(ys))
        read = []
        for h in range(c.n_heads):
            w_q, w_k, w_v = (w[:, h * each : (h + 1) * each] for w in matrices)
            raised = torch.stack([((y @ w_q) @ (seen[j] @ w_k) / math.sqrt(each)).exp() for j in others])
            row = raised / raised.sum()
            rows[i, : len(row)] += row / c.n_heads
            read.append(sum((row[j] * (seen[j] @ w_v) for j in others), torch.zeros(each, dtype=torch.float64)))
        u = f = torch.cat(read)
        if c.n_neurons:
            mid = normalised(u, p, f"{block}.norm_mid") if c.norm == "pre" else u
            drives = mid @ p[f"{block}.mlp.keys.weight"] + p[f"{block}.mlp.keys.bias"][0]
            f = u + drives.clamp(min=0) @ p[f"{block}.mlp.values.weight"] + p[f"{block}.mlp.values.bias"][0]
        out.append(normalised(f, p, f"{block}.norm_out") if c.norm == "post" else f)
    return out, rows


def energy(c: LoopedConfig, qkv: Tensor, z: Tensor, x: Tensor) -> Tensor:
    """E_τ(Z) of one sequence, (n, d), token by token."""
    w_q, w_k, _ = qkv.chunk(3, dim=1)
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(z)):
        others = x[: i + 1] if c.causal else x
        scores = torch.stack([(z[i] @ w_q) @ (o @ w_k) for o in others]) / (c.temperature * math.sqrt(c.d_model))
        total = total - c.temperature * scores.exp().sum().log()
    return total


def gradient_of_energy(c: LoopedConfig, qkv: Tensor, z: Tensor, x: Tensor) -> Tensor:
    z = z.detach().requires_grad_()
    (grad,) = torch.autograd.grad(energy(c, qkv.detach(), z, x.detach()), z)
    return grad


def by_token(model: LoopedTransformer, symbols: list[int]) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """Logits (n, V), states (n, d) and attention rows (n, n) of one sequence."""
    c, p = model.config, {name: x.detach() for name, x in model.named_parameters()}
    xs = []
    for i, s in enumerate(symbols):
        x = p["token"][s] + (p["previous"][symbols[i - 1] if i else c.vocabulary] if c.hint else 0)
        waves = [i / 10_000 ** (2 * (k // 2) / c.d_model) for k in range(c.d_model)]
        wave = [math.cos(w) if k % 2 else math.sin(w) for k, w in enumerate(waves)]
        xs.append(x + c.position_scale * torch.tensor(wave, dtype=torch.float64))
    vs = [torch.zeros(c.d_model, dtype=torch.float64) for _ in symbols]
    zs = xs if c.start == "input" else vs
    states, all_rows = [torch.stack(zs)], []
    for loop in range(c.n_loops):
        block = f"blocks.{loop % c.n_blocks}"
        fs, rows = block_by_token(c, p, block, [z + x for z, x in zip(zs, xs, strict=True)])
        if c.update == "gated":
            gates = [gate_by_hand(c, p, rows[i, : i + 1] if c.causal else rows[i]) for i in range(len(fs))]
            fs = [f * g for f, g in zip(fs, gates, strict=True)]
        if c.update == "hamiltonian":
            g = gradient_of_energy(c, p[f"{block}.qkv"], torch.stack(zs), torch.stack(xs))
            vs = [
                c.damping * v + c.pull * (f - z) - c.slope * slope for v, f, z, slope in zip(vs, fs, zs, g, strict=True)
            ]
            fs = vs
        zs = [z + c.step_size * f for z, f in zip(zs, fs, strict=True)] if c.residual else fs
        states.append(torch.stack(zs))
        all_rows.append(rows)
    seen = [z if c.norm == "none" else normalised(z, p, "norm") for z in zs]
    return torch.stack([z @ p["unembed.weight"] + p["unembed.bias"][0] for z in seen]), states, all_rows


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_logits_and_trace_are_those_of_the_formulas(config: LoopedConfig) -> None:
    model, trace = random_model(config), LoopTrace()
    logits = model(SYMBOLS)
    torch.testing.assert_close(logits, model(SYMBOLS, trace), rtol=1e-9, atol=1e-9)
    assert len(trace.states) == config.n_loops + 1
    assert len(trace.rows) == config.n_loops
    for b, symbols in enumerate(SYMBOLS.tolist()):
        true, states, rows = by_token(model, symbols)
        for ours, theirs in [(logits, [true]), (trace.states, states), (trace.rows, rows)]:
            for x, y in zip([ours] if isinstance(ours, Tensor) else ours, theirs, strict=True):
                torch.testing.assert_close(x[b], y, rtol=1e-8, atol=1e-8)


# ---- what follows from the formulas --------------------------------------------------------------------------------


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_causality(config: LoopedConfig) -> None:
    """A later token does not change earlier logits; without the mask, it does."""
    model, other = random_model(config), SYMBOLS.clone()
    other[:, 4:] = (other[:, 4:] + 1) % 5
    same = torch.isclose(model(SYMBOLS), model(other), rtol=0, atol=1e-12).all(-1)
    assert bool(same[:, :4].all()) == config.causal
    assert not same[:, 4:].any()


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_last_token_alone(config: LoopedConfig) -> None:
    model = random_model(config)
    last = model(SYMBOLS, last=True)
    assert last.shape == (2, 1, 5)
    torch.testing.assert_close(last, model(SYMBOLS)[:, -1:], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_stacked_models_are_single_models(config: LoopedConfig) -> None:
    models = [random_model(config, seed) for seed in range(3)]
    stacked = {name: torch.stack([m.get_parameter(name).detach() for m in models]) for name in models[0].state_dict()}
    sequences = torch.stack([SYMBOLS, SYMBOLS.flip(0), (SYMBOLS + 1) % 5])
    logits, trace = functional_call(models[0], stacked, (sequences,)), LoopTrace()
    functional_call(models[0], stacked, (sequences, trace))
    assert trace.entropies().shape == (config.n_loops, *sequences.shape)
    for m, model in enumerate(models):
        torch.testing.assert_close(logits[m], model(sequences[m]), rtol=1e-9, atol=1e-9)
        alone = LoopTrace()
        model(sequences[m], alone)
        torch.testing.assert_close(trace.states[-1][m], alone.states[-1], rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_every_parameter_is_used_and_drawn_by_the_generator(config: LoopedConfig) -> None:
    torch.manual_seed(1)
    a, b = (config.build(torch.Generator().manual_seed(3)) for _ in range(2))
    assert all(torch.equal(x, y) for x, y in zip(a.parameters(), b.parameters(), strict=True))
    model = random_model(config)
    grads = torch.autograd.grad(model(SYMBOLS).square().sum(), list(model.parameters()))
    assert all(bool(g.abs().max() > 0) for g in grads)
    assert model.n_parameters == sum(g.numel() for g in grads)


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_kernel_and_definition_have_the_same_gradient(config: LoopedConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for _ in range(2):
        model = random_model(config)
        results.append(torch.autograd.grad(model(SYMBOLS).sin().sum(), list(model.parameters())))
        monkeypatch.setattr(looped, "has_kernel", lambda _dtype: False)
    for ours, true in zip(*results, strict=True):
        assert float((ours - true).abs().max()) <= 1e-10 * max(1.0, float(true.abs().max()))


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_the_last_tokens_row_alone(config: LoopedConfig) -> None:
    """Without the others' rows, the pass is the same, and so is the slope of what is made of that row."""
    model, whole, last = random_model(config), LoopTrace(), LoopTrace("last")
    logits = model(SYMBOLS, whole), model(SYMBOLS, last)
    torch.testing.assert_close(*logits, rtol=1e-9, atol=1e-9)
    slopes = []
    for trace in (whole, last):
        row = torch.stack([r[..., -1:, :] for r in trace.rows])
        grads = torch.autograd.grad(
            row.square().sum() + trace.states[-1].sin().sum(), model.parameters(), allow_unused=True
        )
        slopes.append([row.detach(), *(g for g in grads if g is not None)])
    assert last.rows[0].shape == (2, 1, 7)
    assert last.entropies().shape == (config.n_loops, 2, 1)
    for ours, true in zip(*slopes, strict=True):
        assert float((ours - true).abs().max()) <= 1e-9 * max(1.0, float(true.abs().max()))


def test_rows_that_are_only_looked_at_have_no_slope() -> None:
    trace = LoopTrace("last", differentiable=False)
    random_model(LoopedConfig(5, n_loops=3))(SYMBOLS, trace)
    assert not any(row.requires_grad for row in trace.rows)
    assert trace.states[-1].requires_grad


def test_rows_and_entropies() -> None:
    trace = LoopTrace()
    random_model(LoopedConfig(5, n_loops=3))(SYMBOLS, trace)
    rows = torch.stack(trace.rows)
    torch.testing.assert_close(rows.sum(-1), torch.ones_like(rows[..., 0]))
    assert rows.triu(1).abs().max() == 0
    entropies = trace.entropies()
    assert entropies.shape == (3, 2, 7)
    assert entropies[..., 0].abs().max() == 0  # the first token sees itself alone
    log_rows = rows[..., -1, :].log()
    torch.testing.assert_close(entropies[..., -1], -(rows[..., -1, :] * log_rows).sum(-1))


@pytest.mark.parametrize("config", CONFIGS, ids=str)
@pytest.mark.parametrize("keep", [None, "last", "all"])
def test_a_block_tells_the_entropies_of_its_rows(config: LoopedConfig, keep: looped.Keep | None) -> None:
    """Of one model and of a stack of them; a trace keeps what it does without them."""
    models = [random_model(config, seed) for seed in range(3)]
    stacked = {name: torch.stack([m.get_parameter(name).detach() for m in models]) for name in models[0].state_dict()}
    y = torch.randn(3, 2, 7, config.d_model, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    together = functional_call(TellsEntropy(models[0]), {f"model.{k}": v for k, v in stacked.items()}, (y,))
    for m, model in enumerate(models):
        block, whole, trace = model.blocks[0], LoopTrace(), LoopTrace(keep) if keep else None
        assert isinstance(block, looped.LoopBlock)
        true = block(y[m], whole)
        for f, entropy in [block.with_entropy(y[m], trace), tuple(x[m] for x in together)]:
            torch.testing.assert_close(f, true, rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(entropy, 2 * (1 - (whole.rows[0] ** 1.5).sum(-1)), rtol=1e-9, atol=1e-12)
        kept = trace.rows if trace else []
        assert len(kept) == (keep == "all")
        assert all(torch.equal(ours, theirs) for ours, theirs in zip(kept, whole.rows, strict=False))


class TellsEntropy(torch.nn.Module):
    """The first block's, for `functional_call`."""

    def __init__(self, model: LoopedTransformer) -> None:
        super().__init__()
        self.model = model

    def forward(self, y: Tensor) -> tuple[Tensor, Tensor]:
        block = self.model.blocks[0]
        assert isinstance(block, looped.LoopBlock)
        return block.with_entropy(y)


def test_no_loops_reads_the_zero_state() -> None:
    model = random_model(LoopedConfig(5))
    assert (model(SYMBOLS, n_loops=0) - model.read(torch.zeros(2, 7, 8, dtype=torch.float64))).abs().max() == 0
    assert not torch.equal(model(SYMBOLS, n_loops=3), model(SYMBOLS, n_loops=4))


def test_without_mask_and_positions_order_is_not_seen() -> None:
    order = torch.tensor([3, 0, 6, 1, 5, 2, 4])
    for scale in (0.0, 0.15):
        model = random_model(LoopedConfig(5, n_loops=3, causal=False, position_scale=scale))
        equivariant = torch.allclose(model(SYMBOLS[:, order]), model(SYMBOLS)[:, order], rtol=0, atol=1e-11)
        assert equivariant == (scale == 0)


def test_hint_is_of_the_token_before() -> None:
    model = random_model(LoopedConfig(5, hint=True, position_scale=0.0))
    assert model.previous is not None
    x = model.embed(SYMBOLS)
    torch.testing.assert_close(x[:, 0], model.token[SYMBOLS[:, 0]] + model.previous[5])
    torch.testing.assert_close(x[:, 1:], model.token[SYMBOLS[:, 1:]] + model.previous[SYMBOLS[:, :-1]])


@pytest.mark.parametrize("d", [1, 5, 8])
def test_positions(d: int) -> None:
    waves = sinusoids(9, d)
    assert waves.shape == (9, d)
    for i in range(9):
        for k in range(d):
            angle = i / 10_000 ** ((k - k % 2) / d)
            assert waves[i, k] == pytest.approx((math.cos if k % 2 else math.sin)(angle), abs=1e-14)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("temperature", [0.1, 1.0, 3.0])
def test_energy_gradient(causal: bool, temperature: float) -> None:
    config = LoopedConfig(5, causal=causal, temperature=temperature)
    block = random_model(config).blocks[0]
    assert isinstance(block, looped.LoopBlock)
    z, x = torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    ours = energy_gradient(block, z, x, temperature)
    true = torch.stack([gradient_of_energy(config, block.qkv, a, b) for a, b in zip(z, x, strict=True)])
    torch.testing.assert_close(ours, true, rtol=1e-12, atol=1e-12)


def test_hamiltonian_without_slope_and_damping_is_plain_relaxation() -> None:
    """μ = β = 0, α = 1: V' = F − Z, so that Z' = F, the iteration of the theorem."""
    config = LoopedConfig(5, n_loops=4, update="hamiltonian", damping=0.0, pull=1.0, slope=0.0)
    model, theorem = random_model(config), random_model(replace(config, update="plain", residual=False))
    torch.testing.assert_close(model(SYMBOLS), theorem(SYMBOLS), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("gate_of", ["own", "shuffled", "mean"])
def test_an_open_gate_is_none(gate_of: str) -> None:
    """To the last bit, forward and backward."""
    found = []
    for update in ("gated", "plain"):
        config = LoopedConfig(5, n_loops=4, update=update, gate="open", gate_of=gate_of)  # type: ignore[arg-type]
        model = config.build(torch.Generator().manual_seed(3))
        logits = model(SYMBOLS)
        found.append([logits, *torch.autograd.grad(logits.square().sum(), list(model.parameters()))])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_a_learned_gate_that_is_wide_open_is_plain() -> None:
    gated, plain = (random_model(LoopedConfig(5, n_loops=4, update=u)) for u in ("gated", "plain"))
    assert gated.gate is not None
    plain.load_state_dict({k: v for k, v in gated.state_dict().items() if k != "gate"})
    with torch.no_grad():
        gated.gate.copy_(torch.tensor([[50.0, 0.0]]))
    torch.testing.assert_close(gated(SYMBOLS), plain(SYMBOLS), rtol=1e-9, atol=1e-9)


def test_gate_learns() -> None:
    """From 0, where every gate is ½, the entropy's coefficient has a gradient; no row's log of 0 spoils it."""
    model = LoopedConfig(5, n_loops=4, update="gated").build(torch.Generator().manual_seed(0))
    assert model.gate is not None
    (grad,) = torch.autograd.grad(model(SYMBOLS).square().sum(), model.gate)
    assert grad.isfinite().all()
    assert (grad != 0).all()


# ---- looping until it settles ---------------------------------------------------------------------------------------


def contracting() -> LoopedTransformer:
    """Z ← F(Z + X) with small weights and no norm."""
    model = random_model(LoopedConfig(5, norm="none", residual=False, d_ff=0))
    with torch.no_grad():
        model.blocks[0].get_parameter("qkv").mul_(0.2)
    return model


def test_settles_on_a_fixed_point() -> None:
    model = contracting()
    logits, loops, converged = settle(model, SYMBOLS, tolerance=1e-12)
    assert converged
    assert loops < 200
    assert not logits.requires_grad
    torch.testing.assert_close(logits, model(SYMBOLS, n_loops=1000), rtol=0, atol=1e-9)
    torch.testing.assert_close(logits, model(SYMBOLS, n_loops=loops), rtol=0, atol=1e-13)
    assert settle(model, SYMBOLS, tolerance=1e-3).loops < loops


def test_gives_up() -> None:
    """The residual loop with a layer norm at its end takes steps of the same size for ever."""
    model = random_model(LoopedConfig(5))
    logits, loops, converged = settle(model, SYMBOLS, tolerance=1e-12, most=7)
    assert (loops, converged) == (7, False)
    torch.testing.assert_close(logits, model(SYMBOLS, n_loops=7), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("tolerance", [0.0, -1.0, math.nan])
def test_a_tolerance_is_positive(tolerance: float) -> None:
    with pytest.raises(ValueError, match="a tolerance above 0"):
        settle(contracting(), SYMBOLS, tolerance)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vocabulary": 0}, "vocabulary must be at least 1, got 0"),
        ({"n_heads": 3}, "n_heads must divide d_model = 8, got 3"),
        ({"update": "hamiltonian", "n_heads": 2}, "a hamiltonian update has one head, got 2"),
        ({"step_size": 0.0}, "step_size must be a finite number above 0, got 0.0"),
        ({"step_size": 0.5, "residual": False}, "a factor of what a plain or gated update adds"),
        ({"step_size": 0.5, "update": "hamiltonian"}, "a factor of what a plain or gated update adds"),
        ({"d_model": 0}, "d_model must be at least 1"),
        ({"n_loops": -1}, "n_loops must be at least 1"),
        ({"n_blocks": 0}, "n_blocks must be at least 1"),
        ({"d_ff": -1}, "d_ff is 0, for none, or more, got -1"),
        ({"norm": "middle"}, "unknown norm 'middle'; choose from none, pre, post"),
        ({"update": "fast"}, "unknown update 'fast'; choose from plain, gated, hamiltonian"),
        ({"update": "gated", "residual": False}, "a gated update is residual"),
    ],
)
def test_bad_shapes(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LoopedConfig(**fields)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("sinusoids", lambda found: found.roll(1, 0)),
        ("energy_gradient", lambda found: -found),
        ("attention_rows", lambda found: found.flip(-1)),
    ],
)
def test_a_planted_fault_is_found(
    name: str, wrong: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    right = getattr(looped, name)
    monkeypatch.setattr(looped, name, lambda *given: wrong(right(*given)))
    with pytest.raises(AssertionError):
        test_logits_and_trace_are_those_of_the_formulas(CONFIGS[-1])
