"""The C kernel of a looped block against its definition in tensor operations, and what happens where there is none."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor

from entropylens.models import loop_kernel, looped, native
from entropylens.models.entropies import largest_tsallis, tsallis
from entropylens.models.loop_kernel import NORMS, ORDER, has_kernel, loop_block, loop_block_entropy
from entropylens.models.looped import LoopBlock, LoopedConfig, LoopTrace
from entropylens.models.native import compiled

TOLERANCES = {torch.float32: 1e-5, torch.float64: 1e-12}
needs_compiler = pytest.mark.skipif(
    not has_kernel(torch.float32), reason="no working C compiler, or ENTROPYLENS_KERNEL=0"
)


@pytest.fixture
def fresh_look_for_a_compiler() -> Iterator[None]:
    """What is known about the compiler is forgotten, before and after."""
    compiled.cache_clear()
    yield
    compiled.cache_clear()


def random(*shape: int, dtype: torch.dtype = torch.float64, scale: float = 1.0, seed: int = 0) -> Tensor:
    return (scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)).to(dtype)


def block_of(config: LoopedConfig, dtype: torch.dtype = torch.float64) -> LoopBlock:
    """A block none of whose parameters has a special value: biases are not 0, gains are not 1."""
    generator = torch.Generator().manual_seed(0)
    block = config.build(generator).blocks[0].double()
    assert isinstance(block, LoopBlock)
    with torch.no_grad():
        for p in block.parameters():
            p.add_(torch.randn(p.shape, generator=generator, dtype=torch.float64), alpha=0.3)
    return block.to(dtype)


def theta_of(block: LoopBlock) -> Tensor:
    """(1, P): parameters in the order that `loop_block` asks for, which is that of their definition."""
    return torch.cat([p.detach().flatten() for p in block.parameters()])[None]


def entropy_by_definition(block: LoopBlock, y: Tensor) -> tuple[Tensor, Tensor]:
    trace = LoopTrace()
    return block.reference(y, trace), tsallis(trace.rows[0], ORDER)


def all_gradients(block: LoopBlock, y: Tensor, function: Callable[[Tensor], tuple[Tensor, ...]]) -> list[Tensor]:
    """What the function gives at y, and the gradients of a random functional of all that."""
    inputs = [y.clone().requires_grad_(), *block.parameters()]
    outputs = function(inputs[0])
    cotangents = [random(*f.shape, dtype=f.dtype, seed=1 + i) for i, f in enumerate(outputs)]
    return [*(f.detach() for f in outputs), *torch.autograd.grad(outputs, inputs, cotangents)]


def both(block: LoopBlock, y: Tensor) -> list[list[Tensor]]:
    """F(y) and all gradients, by the kernel and by the definition."""
    return [
        all_gradients(block, y, lambda y, function=function: (function(y),)) for function in (block, block.reference)
    ]


def both_with_entropy(block: LoopBlock, y: Tensor) -> list[list[Tensor]]:
    """F(y), entropies and all gradients, by the kernel and by the definition."""
    return [all_gradients(block, y, f) for f in (block.with_entropy, partial(entropy_by_definition, block))]


def check(block: LoopBlock, y: Tensor, tolerance: float, how: Callable[..., list[list[Tensor]]] = both) -> None:
    """To a tolerance relative to the largest entry."""
    for ours, true in zip(*how(block, y), strict=True):
        assert ours.dtype == y.dtype
        assert ours.shape == true.shape
        assert float((ours - true).abs().max()) <= tolerance * max(1.0, float(true.abs().max()))


@needs_compiler
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("d_ff", [0, None, 7])
def test_kernel_equals_its_definition(
    dtype: torch.dtype, norm: looped.LoopNorm, causal: bool, d_ff: int | None
) -> None:
    for d, n in product([8, 5, 16], [1, 16, 37]):
        block = block_of(LoopedConfig(d_model=d, norm=norm, causal=causal, d_ff=d_ff), dtype)
        check(block, random(3, n, d, dtype=dtype), TOLERANCES[dtype])


@needs_compiler
@pytest.mark.parametrize("d", [1, 2, 4, 32, 64])
def test_other_widths(d: int) -> None:
    check(block_of(LoopedConfig(d_model=d, norm="pre")), random(2, 19, d), 1e-11)


@needs_compiler
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_scores_far_apart(dtype: torch.dtype) -> None:
    """Rows that are all but one-hot: what is left out below e^−87 is not seen."""
    block = block_of(LoopedConfig(norm="none"), dtype)
    check(block, random(2, 33, 8, dtype=dtype, scale=20.0), 20 * TOLERANCES[dtype])


@needs_compiler
def test_derivatives_are_those_of_finite_differences() -> None:
    block = block_of(LoopedConfig(d_model=3, d_ff=4, norm="pre"))
    y, theta = random(1, 2, 5, 3), theta_of(block)
    torch.autograd.gradcheck(
        lambda y, theta: loop_block(y, theta, 4, True, "pre"), (y.requires_grad_(), theta.requires_grad_())
    )


@needs_compiler
def test_models_have_their_own_parameters() -> None:
    """(M, B, n, D) is each model on its own, and strides do not matter."""
    blocks = [block_of(LoopedConfig()), block_of(LoopedConfig(norm="post"))]
    with torch.no_grad():
        blocks[1].qkv.mul_(-1.5)
    y = random(2, 8, 17, 3).transpose(1, 3)
    together = loop_block(y, torch.cat([theta_of(b) for b in blocks]), 32, True, "post")
    assert torch.equal(together, torch.stack([b(x) for b, x in zip(blocks, y, strict=True)]))


@needs_compiler
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_same_input_gives_same_bits(dtype: torch.dtype) -> None:
    block, y = block_of(LoopedConfig(), dtype), random(4, 37, 8, dtype=dtype)
    first, again = both(block, y)[0], both(block, y)[0]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@needs_compiler
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_nan_spreads(norm: looped.LoopNorm, bad: float) -> None:
    """To the tokens that see it, and not to other sequences; no −∞ of a mask is among the results.

    Tokens before it may get it, too, as 0 · NaN is NaN: from the definition all do.
    """
    y = random(2, 20, 8, dtype=torch.float32)
    y[0, 11] = bad
    f = block_of(LoopedConfig(norm=norm), torch.float32)(y)
    assert not f.isinf().any()
    assert f[0, 11:].isnan().any(-1).all()
    assert f[1].isfinite().all()


@needs_compiler
def test_nan_stays_with_its_model() -> None:
    results = []
    for bad in (0.0, torch.nan):
        y, theta = random(2, 2, 9, 8).requires_grad_(), theta_of(block_of(LoopedConfig())).repeat(2, 1)
        theta[1, 0] += bad
        f = loop_block(y, theta.requires_grad_(), 32, True, "post")
        results.append([f, *torch.autograd.grad(f.square().sum(), (y, theta))])
    for clean, dirty in zip(*results, strict=True):
        assert torch.equal(clean[0], dirty[0])
        assert dirty[1].isnan().any()


@needs_compiler
@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="other processors keep them")
def test_gradients_too_small_for_a_normal_number_are_none() -> None:
    """They are taken for 0 within the kernel, and only there."""
    block, y = block_of(LoopedConfig(), torch.float32), random(1, 20, 8, dtype=torch.float32).requires_grad_()
    f = block(y)
    (grad,) = torch.autograd.grad(f, y, torch.full_like(f, 1e-40))
    assert grad.abs().max() == 0
    assert float(torch.tensor(1e-40) * 2) > 0


@needs_compiler
def test_parameters_that_do_not_fit() -> None:
    y, theta = random(2, 3, 5, 8), theta_of(block_of(LoopedConfig())).expand(2, -1)
    with pytest.raises(ValueError, match=r"a block of this shape has \d+ parameters, got \(2, 5\) for 2 models"):
        loop_block(y, theta[:, :5], 32, True, "post")
    with pytest.raises(ValueError, match="for 2 models"):
        loop_block(y, theta[:1], 32, True, "post")


@needs_compiler
@pytest.mark.parametrize("name", ["loop_block", "loop_block_entropy"])
def test_operator_is_what_torch_expects(name: str) -> None:
    theta = theta_of(block_of(LoopedConfig(d_model=3, d_ff=4)))
    arguments = (random(1, 2, 5, 3).requires_grad_(), theta.requires_grad_(), 4, True, NORMS.index("post"))
    checks = ("test_schema", "test_autograd_registration")
    torch.library.opcheck(getattr(torch.ops.entropylens, name).default, arguments, test_utils=checks)


# ---- entropies of attention rows ------------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("d_ff", [0, None, 7])
def test_entropy_equals_its_definition(
    dtype: torch.dtype, norm: looped.LoopNorm, causal: bool, d_ff: int | None
) -> None:
    for d, n in product([8, 5, 16], [1, 16, 37]):
        block = block_of(LoopedConfig(d_model=d, norm=norm, causal=causal, d_ff=d_ff), dtype)
        check(block, random(3, n, d, dtype=dtype), TOLERANCES[dtype], both_with_entropy)


@needs_compiler
@pytest.mark.parametrize("dtype", TOLERANCES)
def test_entropy_where_scores_are_far_apart(dtype: torch.dtype) -> None:
    block = block_of(LoopedConfig(norm="none"), dtype)
    check(block, random(2, 33, 8, dtype=dtype, scale=20.0), 20 * TOLERANCES[dtype], both_with_entropy)


@needs_compiler
@pytest.mark.parametrize("causal", [True, False])
def test_slopes_of_entropies_are_those_of_finite_differences(causal: bool) -> None:
    block = block_of(LoopedConfig(d_model=3, d_ff=4, norm="pre"))
    y, theta = random(1, 2, 5, 3).requires_grad_(), theta_of(block).requires_grad_()
    torch.autograd.gradcheck(lambda y, theta: loop_block_entropy(y, theta, 4, causal, "pre"), (y, theta))


@needs_compiler
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("causal", [True, False])
def test_entropies_that_are_asked_for_change_no_bit(dtype: torch.dtype, norm: looped.LoopNorm, causal: bool) -> None:
    for d, n in product([8, 5], [1, 16, 37]):
        block = block_of(LoopedConfig(d_model=d, norm=norm, causal=causal), dtype)
        y = random(3, n, d, dtype=dtype)
        ways = [lambda y, b=block: (b(y),), lambda y, b=block: b.with_entropy(y)[:1]]
        without, asked = (all_gradients(block, y, way) for way in ways)
        assert all(torch.equal(a, b) for a, b in zip(without, asked, strict=True))


@needs_compiler
@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("causal", [True, False])
def test_entropy_of_rows_that_are_certain_or_uniform(dtype: torch.dtype, causal: bool) -> None:
    """Its slopes are finite at both ends; where scores are all the same it is at its largest, and they are 0."""
    config, y = LoopedConfig(norm="none", causal=causal, d_ff=0), torch.eye(8, dtype=dtype)[None]
    block = config.build().blocks[0].to(dtype)
    assert isinstance(block, LoopBlock)
    places = torch.arange(1, 9) if causal else torch.full((8,), 8)
    eps = torch.finfo(dtype).eps
    for score, true, slope in [(1e4, torch.zeros(8), 0.0), (0.0, largest_tsallis(places, ORDER), 20 * eps)]:
        with torch.no_grad():  # a token's score with itself, and so its row
            block.qkv.copy_(torch.cat([score * torch.eye(8), torch.eye(8), torch.eye(8)], dim=1))
        y = y.detach().requires_grad_()
        _, entropy = block.with_entropy(y)
        torch.testing.assert_close(entropy[0], true.to(dtype), rtol=10 * eps, atol=0)
        assert not entropy.signbit().any()
        for grad in torch.autograd.grad(entropy.sum(), (y, block.qkv)):
            assert grad.abs().max() <= slope  # no NaN


@needs_compiler
def test_entropies_alone() -> None:
    """Without any part of F in the result; all of the slopes that come back are one number in memory."""
    block, y = block_of(LoopedConfig(norm="pre")), random(3, 17, 8).requires_grad_()
    entropies = block.with_entropy(y)[1], entropy_by_definition(block, y)[1]
    grads = [torch.autograd.grad(s.sum(), (y, block.qkv, *block.norm_in.parameters())) for s in entropies]
    for ours, true in zip(*grads, strict=True):
        torch.testing.assert_close(ours, true, rtol=1e-12, atol=1e-12)


@needs_compiler
def test_models_have_their_own_entropies() -> None:
    """(M, B, n) is each model on its own, and strides do not matter."""
    blocks = [block_of(LoopedConfig()), block_of(LoopedConfig())]
    with torch.no_grad():
        blocks[1].qkv.mul_(-1.5)
    y = random(2, 8, 17, 3).transpose(1, 3)
    _, together = loop_block_entropy(y, torch.cat([theta_of(b) for b in blocks]), 32, True, "post")
    assert together.shape == (2, 3, 17)
    assert torch.equal(together, torch.stack([b.with_entropy(x)[1] for b, x in zip(blocks, y, strict=True)]))


@needs_compiler
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_nan_spreads_to_entropies(bad: float) -> None:
    y = random(2, 20, 8, dtype=torch.float32)
    y[0, 11] = bad
    _, entropy = block_of(LoopedConfig(), torch.float32).with_entropy(y)
    assert entropy[0, 11:].isnan().all()
    assert entropy[1].isfinite().all()


@needs_compiler
def test_what_does_not_fit_has_no_entropy() -> None:
    y, theta = random(2, 3, 5, 8), theta_of(block_of(LoopedConfig())).expand(2, -1)
    with pytest.raises(ValueError, match=r"needs states \(M, B, n, D\)"):
        loop_block_entropy(y[0], theta, 32, True, "post")
    with pytest.raises(ValueError, match=r"a block of this shape has \d+ parameters"):
        loop_block_entropy(y, theta[:1], 32, True, "post")
    with pytest.raises(TypeError, match="no kernel for states"):
        loop_block_entropy(y, theta.float(), 32, True, "post")


# ---- without the kernel ----------------------------------------------------------------------------------------------


def test_goes_on_without_a_compiler(monkeypatch: pytest.MonkeyPatch, fresh_look_for_a_compiler: None) -> None:  # noqa: ARG001
    monkeypatch.setenv("ENTROPYLENS_KERNEL", "0")
    assert not has_kernel(torch.float32)
    block, y = block_of(LoopedConfig()), random(2, 9, 8)
    assert torch.equal(block(y), block.reference(y))
    for ours, true in zip(block.with_entropy(y), entropy_by_definition(block, y), strict=True):
        assert torch.equal(ours, true)


def test_a_compiler_that_fails_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    fresh_look_for_a_compiler: None,  # noqa: ARG001
) -> None:
    monkeypatch.setenv("CC", "false")
    monkeypatch.delenv("ENTROPYLENS_KERNEL", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
    with pytest.warns(UserWarning, match=r"loop_block\.c is not used"):
        assert not has_kernel(torch.float32)


def test_half_precision_takes_the_definition() -> None:
    block, y = block_of(LoopedConfig(), torch.bfloat16), random(2, 9, 8, dtype=torch.bfloat16)
    assert not has_kernel(torch.bfloat16)
    assert block(y).dtype == torch.bfloat16
    assert {x.dtype for x in block.with_entropy(y)} == {torch.bfloat16}


# ---- could these tests fail? -----------------------------------------------------------------------------------------


@needs_compiler
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("mean / D - hat", "mean / D * (1 + 1e-9) - hat"),
        ("s->causal ? i + r + 1 : s->tokens", "s->causal ? i + r + 2 : s->tokens"),
    ],
)
def test_a_planted_fault_is_found(
    right: str,
    wrong: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    fresh_look_for_a_compiler: None,  # noqa: ARG001
) -> None:
    source = loop_kernel.SOURCE.read_text()
    assert source.count(right) == 1
    (tmp_path / "planted.c").write_text(source.replace(right, wrong))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(loop_kernel, "SOURCE", tmp_path / "planted.c")
    monkeypatch.setattr(native, "FLAGS", [flag.replace("-O3", "-O0") for flag in native.FLAGS])  # sooner built
    with pytest.raises(AssertionError):
        check(block_of(LoopedConfig()), random(3, 16, 8), TOLERANCES[torch.float64])
