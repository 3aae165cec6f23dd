"""The C kernel of a looped block against its definition in tensor operations, and what happens where there is none."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from itertools import product

import pytest
import torch
from torch import Tensor

from entropylens.models import looped
from entropylens.models.loop_kernel import NORMS, has_kernel, loop_block
from entropylens.models.looped import LoopBlock, LoopedConfig
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


def both(block: LoopBlock, y: Tensor) -> list[list[Tensor]]:
    """F(y) and all gradients, by the kernel and by the definition."""
    results, inputs = [], [y.clone().requires_grad_(), *block.parameters()]
    for function in (block, block.reference):
        f = function(inputs[0])
        cotangent = random(*f.shape, dtype=f.dtype, seed=1)
        results.append([f.detach(), *torch.autograd.grad(f, inputs, cotangent)])
    return results


def check(block: LoopBlock, y: Tensor, tolerance: float) -> None:
    """To a tolerance relative to the largest entry."""
    for ours, true in zip(*both(block, y), strict=True):
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
def test_operator_is_what_torch_expects() -> None:
    theta = theta_of(block_of(LoopedConfig(d_model=3, d_ff=4)))
    arguments = (random(1, 2, 5, 3).requires_grad_(), theta.requires_grad_(), 4, True, NORMS.index("post"))
    checks = ("test_schema", "test_autograd_registration")
    torch.library.opcheck(torch.ops.entropylens.loop_block.default, arguments, test_utils=checks)


def test_goes_on_without_a_compiler(monkeypatch: pytest.MonkeyPatch, fresh_look_for_a_compiler: None) -> None:  # noqa: ARG001
    monkeypatch.setenv("ENTROPYLENS_KERNEL", "0")
    assert not has_kernel(torch.float32)
    block, y = block_of(LoopedConfig()), random(2, 9, 8)
    assert torch.equal(block(y), block.reference(y))


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
