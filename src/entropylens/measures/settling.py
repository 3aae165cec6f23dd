"""What a looped model does if it goes on looping: whether it comes to rest, and what that does to its answers.

A residual loop with a layer norm need not rest: once the direction of its state has settled, what it adds is constant,
and the state grows in proportion to the loops, whatever constant step it takes. What a reader of the model sees may
settle all the same, so that it is the answer that is looked at.

Shapes: T loops, B sequences, n tokens, d width, V symbols; norms of states are Frobenius norms, of all tokens of a
sequence.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entropylens.measures.trajectories import local_rates
from entropylens.models.entropies import normalised_tsallis
from entropylens.models.loop_kernel import ORDER
from entropylens.models.looped import LoopedTransformer, LoopTrace
from entropylens.tasks.induction import Batch

TOLERANCE = 1e-3
"""A loop that moves a state by less than this share of its size has come to rest."""
ANSWER_TOLERANCE = 0.01
"""In total variation: an answer's distribution that stays so close to where it ends has settled."""
PERIODS = 12
"""The longest cycle that is looked for, in loops."""


@dataclass(frozen=True)
class Path:
    """Sequences on their way through more and more loops."""

    states: Tensor
    """(T + 1, B, n, d)."""
    right: Tensor
    """(T, B) bool: whether the last token's answer is right after 1 … T loops."""
    answers: Tensor
    """(T, B, V) the last token's distribution over answers."""
    open: Tensor
    """(T, B) relative Tsallis entropy of the last token's row, 0 … 1."""
    gates: Tensor
    """(T, B) the mean gate of a sequence's tokens; 1 without gates."""
    pushes: Tensor
    """(T, B) ‖F‖, what the block would add without gate and step size; 0 for tokens whose gate is shut."""
    given: Tensor
    """(B) ‖X‖."""

    @property
    def away(self) -> Tensor:
        """(T, B) total variation between an answer and that after all loops."""
        return (self.answers - self.answers[-1]).abs().sum(-1) / 2


@torch.no_grad()
def follow(model: LoopedTransformer, batch: Batch, loops: int) -> Path:
    """Loop so many times, whatever the model was trained with.

    Raises:
        ValueError: for fewer than one loop.
    """
    if loops < 1:
        raise ValueError(f"needs a loop or more, got {loops}")
    trace = LoopTrace("last")
    model(batch.tokens, trace, n_loops=loops)
    states = torch.stack(trace.states)
    logits = model.read(states[1:, :, -1:])[..., 0, :]
    taken = torch.stack(trace.gates) if trace.gates else torch.ones(states[1:].shape[:-1])  # (T, B, n)
    pushes = states.diff(dim=0) / (model.config.step_size * taken[..., None])
    return Path(
        states,
        logits.argmax(-1) == batch.answers[:, -1],
        logits.softmax(-1),
        normalised_tsallis(torch.stack(trace.rows)[..., 0, :], ORDER),
        taken.mean(-1),
        torch.where(taken[..., None] > 0, pushes, 0.0).norm(dim=(-2, -1)),
        model.embed(batch.tokens).norm(dim=(-2, -1)),
    )


def summary(path: Path, trained: int) -> dict[str, float]:
    """How a path moves, in numbers; means over sequences.

    Args:
        path: of loops, more than `trained`.
        trained: loops of the training.

    Returns:
        `decay`: by how much the logarithm of a step's length falls per loop, nats, in the second half of the trained
        loops; `late_decay`, so in the second half of all. `loops_to_rest`: after how many loops no later one moves a
        state by `TOLERANCE` of its size, one more than there are if that never is; `at_rest`, the share of sequences
        for which it is; `cycles`, the share of those that are not at rest and yet come back to where they were
        2 … `PERIODS` loops ago. `growth`: log ‖Z‖ at the end less that after the trained loops. `mean_gate`, that in
        the trained loops. `loops_to_answer`: after how many loops the answer stays within `ANSWER_TOLERANCE` of what it
        is in the end; a sequence with numbers that are none counts as all loops. `wander`: the total variation between
        the answer after the trained loops and that after twice as many, 1 with numbers that are none. `push`: ‖F‖ after
        the trained loops and, `push_late`, after all; `share`: ‖Z‖ over ‖X‖ after the trained loops. `diverged`,
        whether a number is none. `accuracy`, after the trained loops, `accuracy_late` after all, and `accuracy_best`,
        of any number of loops.
    """
    states, loops = path.states, len(path.right)
    if not 0 < trained <= loops:
        raise ValueError(f"the trained loops are some of the {loops} of the path, got {trained}")
    moves = (states[1:] - states[:-1]).norm(dim=(-2, -1)) / states[1:].norm(dim=(-2, -1))
    still = (moves <= TOLERANCE).flip(0).cummin(0).values.flip(0)  # from here on nothing moves
    back = [(states[-1] - states[-1 - p]).norm(dim=(-2, -1)) for p in range(2, min(PERIODS, loops) + 1)]
    returns = (
        torch.stack(back).amin(0) <= TOLERANCE * states[-1].norm(dim=(-2, -1)) if back else torch.zeros_like(still[0])
    )
    settled, later = settling(path.away).double(), path.answers[min(2 * trained, loops) - 1]
    wander = (later - path.answers[trained - 1]).abs().sum(-1) / 2
    size, right = states.norm(dim=(-2, -1)), path.right.double().mean(-1)
    numbers = {
        "decay": -local_rates(states[: trained + 1], 1e-6).rate.log(),
        "late_decay": -local_rates(states, 1e-6).rate.log(),
        "loops_to_rest": 1 + loops - still.sum(0).double(),
        "at_rest": still[-1].double(),
        "cycles": (returns & ~still[-1]).double(),
        "growth": (size[-1] / size[trained]).log(),
        "mean_gate": path.gates[:trained].mean(0),
        "loops_to_answer": settled,
        "wander": wander.nan_to_num(1.0),
        "push": path.pushes[trained - 1],
        "push_late": path.pushes[-1],
        "share": size[trained] / path.given,
        "diverged": (~states.isfinite()).any().double(),
        "accuracy": right[trained - 1],
        "accuracy_late": right[-1],
        "accuracy_best": right.amax(),
    }
    return {name: float(value.nanmean()) for name, value in numbers.items()}


def settling(away: Tensor) -> Tensor:
    """After how many loops answers stay within `ANSWER_TOLERANCE` of the last one: distances (T, B) to (B), 1 … T."""
    astray = ~(away <= ANSWER_TOLERANCE)  # of a NaN, too
    after = torch.arange(2, len(away) + 2)[:, None]  # the loop after the one in which it is astray
    return torch.where(astray, after, 1).amax(0).clamp(max=len(away))


def halted(path: Path, threshold: float, most: int) -> tuple[Tensor, Tensor]:
    """Where a sequence stops if it does as soon as its last token's attention is this certain: loops, right, (B) each.

    Args:
        path: of `most` loops or more.
        threshold: of relative entropy; a sequence stops after the loop in which the row is below.
        most: loops after which it stops anyway, and with a threshold of 0 always.
    """
    sure = path.open[:most] < threshold
    first = torch.where(sure.any(0), sure.int().argmax(0), most - 1)
    return first + 1, path.right.gather(0, first[None])[0]
