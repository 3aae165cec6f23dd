"""A population against its members trained alone, and against the plain loop that anybody would write."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_iter

from entropylens.models.layouts import SentenceLayout, TrieLayout
from entropylens.models.transformer import Transformer, TransformerConfig
from entropylens.tasks.language import Language
from entropylens.tasks.targets import autoregressive_dirichlet, rule_pattern, sparse_support
from entropylens.training import population
from entropylens.training.data import Data, batches, generator
from entropylens.training.optimizers import OptimizerConfig
from entropylens.training.population import Member, Population, Run, compiler_works, train
from tests._reference import forward, sentence_log_probs
from tests.training.test_optimizers import torch_optimizer

LANGUAGE = Language(3, 4)
SMALL = TransformerConfig(LANGUAGE, d_model=8, n_layers=2, n_heads=2)


def mixed_members(language: Language = LANGUAGE) -> list[Member]:
    """As different as members may be."""
    sparse, smooth = sparse_support(language, 20, seed=0), autoregressive_dirichlet(language, seed=1)
    rule = rule_pattern(language, "no_repeats", seed=2)
    return [
        Member(0, sparse, Data(), OptimizerConfig("adam", lr=3e-3)),
        Member(1, smooth, Data("finite", n_samples=30), OptimizerConfig("sgd", lr=3e-3, momentum=0.9)),
        Member(2, rule, Data("fresh", batch_size=16), OptimizerConfig("adamw", lr=2e-3, weight_decay=0.1)),
        Member(3, sparse, Data("finite", n_samples=30, batch_size=8), OptimizerConfig("rmsprop", lr=1e-3, beta2=0.99)),
        Member(4, smooth, Data(), OptimizerConfig("adam", lr=1e-3, beta1=0.5, final_lr=0.1)),
    ]


def felt_parameters(config: TransformerConfig) -> Tensor:
    """(P,) all but the biases of the keys.

    A softmax does not feel these: their gradient is 0 but for rounding, which Adam and RMSprop magnify into steps.
    """
    pieces = []
    for name, parameter in Transformer(config).named_parameters():
        mask = torch.ones(parameter.numel(), dtype=torch.bool)
        if name.endswith("qkv.bias"):
            mask.unflatten(0, (3, -1))[1] = False
        pieces.append(mask)
    return torch.cat(pieces)


def quiet_train(*args: Any, **fields: Any) -> Run:
    """Train, and fail at any warning."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        return train(*args, **fields)


def that_matter(run: Run) -> Tensor:
    """The parameters (M, P) without the keys' biases, which add the same to all scores and so change nothing.

    Their gradient is rounding noise, and in float32 Adam makes steps of full size of it.
    """
    counts = {name: torch.ones(p.shape, dtype=torch.bool) for name, p in Transformer(run.config).named_parameters()}
    for name, kept in counts.items():
        if name.endswith("qkv.bias"):
            kept[:, run.config.d_model : 2 * run.config.d_model] = False
    return run.parameters[:, torch.cat([kept.flatten() for kept in counts.values()])]


def same(a: Run, b: Run, of_a: list[int], of_b: list[int], tolerance: float = 0.0) -> None:
    """Members `of_a` of one run are members `of_b` of another."""
    for x, y in (
        (that_matter(a)[of_a], that_matter(b)[of_b]) if tolerance else (a.parameters[of_a], b.parameters[of_b]),
        (a.losses[:, of_a], b.losses[:, of_b]),
        (a.log_probs[:, of_a], b.log_probs[:, of_b]),
    ):
        if tolerance:
            torch.testing.assert_close(x, y, rtol=tolerance, atol=tolerance)
        else:
            assert torch.equal(x, y)


# ---- independence of the neighbours --------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
def test_a_member_does_not_depend_on_who_else_is_there(dtype: torch.dtype, tolerance: float) -> None:
    members = mixed_members()
    together = quiet_train(SMALL, members, steps=100, snapshots=[0, 50], dtype=dtype)
    for i, member in enumerate(members):
        same(quiet_train(SMALL, [member], steps=100, snapshots=[0, 50], dtype=dtype), together, [0], [i], tolerance)
    order = [3, 1, 4, 0, 2]
    shuffled = quiet_train(SMALL, [members[i] for i in order], steps=100, snapshots=[0, 50], dtype=dtype)
    same(shuffled, together, list(range(5)), order, tolerance)


@pytest.mark.parametrize("variant", ["full", "attention_only", "ffn_only", "no_mixing"])
@pytest.mark.parametrize("norm", ["pre", "post", "none"])
def test_every_variant_is_independent_of_its_neighbours(variant: str, norm: str) -> None:
    config = TransformerConfig(LANGUAGE, d_model=4, variant=variant, norm=norm)  # type: ignore[arg-type]
    members = mixed_members()
    together = quiet_train(config, members, steps=5, dtype=torch.float64)
    same(quiet_train(config, members[2:3], steps=5, dtype=torch.float64), together, [0], [2], 1e-10)


def test_the_same_seed_twice_is_the_same_to_the_bit() -> None:
    torch.manual_seed(1)
    first = quiet_train(SMALL, mixed_members(), steps=20, snapshots=range(0, 20, 7))
    torch.manual_seed(2)
    same(
        first,
        quiet_train(SMALL, mixed_members(), steps=20, snapshots=range(0, 20, 7)),
        [0, 1, 2, 3, 4],
        [0, 1, 2, 3, 4],
    )


def test_other_seeds_are_other_members() -> None:
    target = sparse_support(LANGUAGE, 20, seed=0)
    run = quiet_train(SMALL, [Member(s, target) for s in range(3)], steps=2)
    assert len(run.losses[0].unique()) == 3


# ---- the plain loop ------------------------------------------------------------------------------------------------


def plain_loop(config: TransformerConfig, member: Member, steps: int) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """One model on whole sentences with torch.optim: the loss before each update, then parameters and log pθ."""
    model = Transformer(config, generator(member.seed, "init")).double()
    language, c = config.language, member.optimizer
    optimizer = torch_optimizer(c, list(model.parameters()))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(1, steps - 1), eta_min=c.final_lr * c.lr)
    layout = SentenceLayout(language.sentences, language.vocab_size)
    for weights in islice(batches(language, member.target, member.data, member.seed), steps):
        log_p = sentence_log_probs(model(layout).unflatten(0, (-1, language.length)), language.sentences)
        loss = -(weights * log_p).sum()
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()
        learned = forward(config, dict(model.named_parameters()), language.sentences).log_conditionals
        after = torch.nn.utils.parameters_to_vector(model.parameters()).detach().clone()
        yield loss.detach(), after, sentence_log_probs(learned, language.sentences).detach()


@pytest.mark.parametrize("norm", ["pre", "post", "none"])
def test_a_trajectory_is_that_of_the_plain_loop(norm: str) -> None:
    config = TransformerConfig(LANGUAGE, d_model=8, norm=norm)  # type: ignore[arg-type]
    members, steps, felt = mixed_members(), 20, felt_parameters(config)
    run = quiet_train(config, members, steps=steps, snapshots=range(1, steps + 1), dtype=torch.float64)
    for i, member in enumerate(members):
        for step, (loss, parameters, log_p) in enumerate(plain_loop(config, member, steps)):
            assert float(run.losses[step, i]) == pytest.approx(float(loss), abs=1e-10), (i, step)
            torch.testing.assert_close(run.log_probs[step, i], log_p, rtol=0, atol=1e-10)
            if step == steps - 1:
                torch.testing.assert_close(run.parameters[i, felt], parameters[felt], rtol=0, atol=1e-10)


def test_training_lowers_the_loss() -> None:
    members = [
        Member(0, m.target, Data(), OptimizerConfig(m.optimizer.name, lr=m.optimizer.lr)) for m in mixed_members()
    ]
    run = quiet_train(SMALL, members, steps=60)
    assert (run.losses[-1] < run.losses[0] - 0.3).all()


# ---- a member that diverges ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["sgd", "adam"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_diverging_member_is_reported_and_harms_nobody(name: str, dtype: torch.dtype) -> None:
    config = TransformerConfig(LANGUAGE, d_model=8, norm="none")
    members = mixed_members()
    healthy = quiet_train(config, members, steps=12, snapshots=[0, 6], dtype=dtype)
    others = [0, 1, 3, 4]
    wild = Member(
        2, members[2].target, members[2].data, OptimizerConfig(name, lr=1e200 if dtype.itemsize == 8 else 1e30)
    )
    with pytest.warns(UserWarning, match=r"member 2 diverged: its loss is not finite from step \d+ on") as caught:
        run = train(config, [*members[:2], wild, *members[3:]], steps=12, snapshots=[0, 6], dtype=dtype)
    assert len(caught) == 1
    same(run, healthy, others, others)
    at = run.diverged_at[2]
    assert at is not None
    assert run.losses[:at, 2].isfinite().all()
    assert not run.losses[at, 2].isfinite()
    assert [run.diverged_at[i] for i in others] == [None] * 4
    assert healthy.diverged_at == [None] * 5
    without = quiet_train(config, [members[i] for i in others], steps=12, snapshots=[0, 6], dtype=dtype)
    same(run, without, others, [0, 1, 2, 3], 1e-10 if dtype == torch.float64 else 1e-5)


def test_divergence_at_the_very_last_update_is_reported_too() -> None:
    wild = Member(0, mixed_members()[0].target, optimizer=OptimizerConfig("sgd", lr=1e30))
    with pytest.warns(UserWarning, match="not finite from step 1 on"):
        run = train(TransformerConfig(LANGUAGE, d_model=8, norm="none"), [wild], steps=1)
    assert run.losses.isfinite().all()
    assert run.diverged_at == [1]


# ---- what a run leaves behind --------------------------------------------------------------------------------------


def test_snapshots_are_what_shorter_runs_would_have_left() -> None:
    members = mixed_members()[:4]  # without a schedule, which would depend on the number of steps
    run = quiet_train(SMALL, members, steps=9, snapshots=[4, 0, 4])
    assert run.snapshot_steps == [0, 4, 9]
    assert run.log_probs.shape == (3, 4, 81)
    assert run.log_probs.dtype == torch.float64
    assert run.losses.shape == (9, 4)
    torch.testing.assert_close(run.log_probs.logsumexp(-1), torch.zeros(3, 4).double(), rtol=0, atol=1e-12)
    assert torch.equal(quiet_train(SMALL, members, steps=4).log_probs[-1], run.log_probs[1])
    untrained = [Transformer(SMALL, generator(m.seed, "init")) for m in members]
    for model, log_p in zip(untrained, run.log_probs[0], strict=True):
        torch.testing.assert_close(
            LANGUAGE.sentence_log_probs(model(TrieLayout(LANGUAGE))).double(), log_p, rtol=0, atol=1e-5
        )
    for i, m in enumerate(members[:2]):
        seen = next(batches(LANGUAGE, m.target, m.data, m.seed))
        assert float(run.losses[0, i]) == pytest.approx(float(-(seen * run.log_probs[0, i]).sum()), abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_run_gives_its_models_back(dtype: torch.dtype) -> None:
    run = quiet_train(SMALL, mixed_members(), steps=5, dtype=dtype)
    for i in range(5):
        model = run.model(i)
        log_p = LANGUAGE.sentence_log_probs(model(TrieLayout(LANGUAGE)).detach().double())
        tolerance = 1e-12 if dtype == torch.float64 else 1e-5
        torch.testing.assert_close(log_p, run.log_probs[-1, i], rtol=0, atol=tolerance)


def test_operating_on_a_model_leaves_the_run_alone() -> None:
    run = quiet_train(SMALL, mixed_members()[:2], steps=2)
    before = run.parameters.clone()
    with torch.no_grad():
        for parameter in run.model(1).parameters():
            parameter.zero_()
    assert torch.equal(run.parameters, before)


def test_both_number_types_start_from_the_same_point() -> None:
    narrow, wide = (Population(SMALL, [0, 1], dtype=dtype).parameters for dtype in (torch.float32, torch.float64))
    assert torch.equal(narrow.double(), wide)


# ---- bad arguments, progress, the choice of compiling --------------------------------------------------------------


@pytest.mark.parametrize(("fields", "message"), [
    ({"members": []}, "needs members"),
    ({"steps": 0}, "steps ≥ 1"),
    ({"snapshots": [-1]}, "snapshots and checkpoints in 0 … 3"),
    ({"snapshots": [4]}, "snapshots and checkpoints in 0 … 3"),
    ({"members": [Member(0, torch.full((81,), 0.5))]}, "normalise"),
    ({"members": [Member(0, torch.full((9,), 1 / 9))]}, "81 entries, got 9"),
    ({"members": [Member(0, torch.full((81,), torch.nan))]}, "NaN"),
])  # fmt: skip
def test_bad_arguments_are_refused(fields: dict[str, Any], message: str) -> None:
    usual: dict[str, Any] = {"members": mixed_members()[:1], "steps": 3}
    with pytest.raises(ValueError, match=message):
        train(SMALL, **{**usual, **fields})


def test_progress_goes_to_stderr_unless_it_is_hidden(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.delenv("ENTROPYLENS_PROGRESS", raising=False)
    outputs = []
    for progress, hide in [("growing up", False), ("growing up", True), (None, False), (told.append, False)]:
        if hide:
            monkeypatch.setenv("ENTROPYLENS_PROGRESS", "0")
        else:
            monkeypatch.delenv("ENTROPYLENS_PROGRESS", raising=False)
        train(SMALL, mixed_members()[:1], steps=2, progress=progress)
        outputs.append(capsys.readouterr())
    assert ["growing up" in o.err for o in outputs] == [True, False, False, False]
    assert not any(o.out for o in outputs)
    assert told == [1, 1]


def test_long_runs_compile_where_they_can(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen: list[bool] = []
    make_step: Callable[..., Any] = population.make_step

    def spy(*arguments: Any) -> Any:
        chosen.append(arguments[3])
        return make_step(*arguments[:3], False)

    monkeypatch.setattr(population, "make_step", spy)
    monkeypatch.setattr(population, "COMPILE_FROM", 3 * Transformer(SMALL).n_parameters)
    for steps, works in [(2, True), (3, True), (3, False)]:
        monkeypatch.setattr(population, "compiler_works", lambda works=works: works)
        train(SMALL, mixed_members()[:1], steps=steps)
    assert chosen == [False, True, False]


def test_without_a_compiler_nothing_is_compiled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    assert not compiler_works.__wrapped__()  # past the cache: the answer is kept for the life of a process


def test_a_compiler_that_fails_is_told_and_done_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the compiler caught fire")

    monkeypatch.setattr(torch, "compile", broken)
    with pytest.warns(UserWarning, match="going on without: the compiler caught fire"):
        assert not compiler_works.__wrapped__()


@pytest.mark.usefixtures("compiler")
def test_compiled_and_eager_agree() -> None:
    config = TransformerConfig(Language(2, 3), d_model=4, n_layers=1)
    target = sparse_support(config.language, 5, seed=0)
    sgd = OptimizerConfig("sgd", lr=0.01, momentum=0.9)
    members = [
        Member(0, target, optimizer=OptimizerConfig(lr=3e-3)),
        Member(1, target, Data("fresh", batch_size=4), sgd),
    ]
    eager = quiet_train(config, members, steps=30, compiled=False)
    compiled = train(config, members, steps=30, compiled=True)
    assert (eager.compiled, compiled.compiled) == (False, True)
    felt = felt_parameters(config)
    torch.testing.assert_close(compiled.parameters[:, felt], eager.parameters[:, felt], rtol=0, atol=1e-5)
    torch.testing.assert_close(compiled.losses, eager.losses, rtol=0, atol=1e-5)
    torch.testing.assert_close(compiled.log_probs, eager.log_probs, rtol=0, atol=1e-5)


# ---- the GPU's path without a GPU ----------------------------------------------------------------------------------


class OneDevice(TorchDispatchMode):
    """Raises when an operator other than a copy mixes the CPU with the accelerator, played by the meta device."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        copies = func.overloadpacket in (torch.ops.aten._to_copy, torch.ops.aten.copy_)
        devices = {x.device.type for x in tree_iter((args, kwargs)) if isinstance(x, Tensor)}
        if len(devices) > 1 and not copies:
            raise AssertionError(f"{func} mixes {sorted(devices)}")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("variant", ["full", "ffn_only", "no_mixing"])
@pytest.mark.parametrize("norm", ["pre", "post"])
def test_nothing_stays_behind_on_the_cpu(variant: str, norm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A whole training on the meta device, whose tensors have no values: what comes home is made up."""
    monkeypatch.setattr(Tensor, "cpu", lambda self: torch.zeros(self.shape, dtype=self.dtype))
    config = TransformerConfig(LANGUAGE, d_model=4, variant=variant, norm=norm)  # type: ignore[arg-type]
    with OneDevice():
        run = train(config, mixed_members(), steps=3, snapshots=[0, 1], device="meta")
    assert run.log_probs.shape == (3, 5, 81)


def test_the_meta_device_finds_what_is_left_behind() -> None:
    with OneDevice(), pytest.raises(AssertionError, match="mixes"):
        torch.zeros(3, device="meta") + torch.zeros(3)


# ---- could these tests fail? -----------------------------------------------------------------------------------------


def test_a_planted_tie_between_neighbours_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    apply = population.PopulationOptimizer.apply
    monkeypatch.setattr(population.PopulationOptimizer, "apply", lambda own, g, c: apply(own, g / g.norm(), c))
    with pytest.raises(AssertionError):
        test_every_variant_is_independent_of_its_neighbours("full", "pre")


def test_planted_global_random_numbers_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(population, "generator", lambda *_: torch.default_generator)
    with pytest.raises(AssertionError):
        test_the_same_seed_twice_is_the_same_to_the_bit()


def test_a_planted_schedule_that_ends_late_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = population.PopulationOptimizer
    monkeypatch.setattr(
        population, "PopulationOptimizer", lambda configs, theta, steps: right(configs, theta, steps + 1)
    )
    with pytest.raises(AssertionError):
        test_a_trajectory_is_that_of_the_plain_loop("pre")
