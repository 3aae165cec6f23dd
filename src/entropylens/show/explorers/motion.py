"""Chapter 13's explorer: trained Hamiltonian loops, their energies on the way, and what pulls against what."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anywidget
import torch
import traitlets
from torch import Tensor

from entropylens.measures.hamiltonian import corners
from entropylens.measures.navigation import follow, potential_of
from entropylens.models.looped import LoopedTransformer
from entropylens.show.explorers import source, style
from entropylens.tasks.induction import Batch

QUANTITIES = ("potential", "kinetic", "pull", "slope", "balance", "row_f", "row_e", "answer")
"""Of the last token, after 0, 1, … loops: e(z) and ½‖v‖²; ‖α(F − Z)‖ and ‖β∇e‖, and the cosine between the two, which
is 1 where they hold each other; the relative Shannon entropies of the rows by which F and the energy look; and the
probability of the right answer."""


class MotionExplorer(anywidget.AnyWidget):
    """Controls over dynamics, models and sequences, a slider over loops: energies, forces, entropies and the answer."""

    _esm = source("motion.js")
    _css = style()
    name = traitlets.Unicode("motion").tag(sync=True)
    """In the page's address, which holds the explorer's state."""
    dynamics: traitlets.List[list[Any]] = traitlets.List().tag(sync=True)
    """The name, μ, α and β of each; a list, as pages do not keep the order of a dictionary."""
    values = traitlets.Bytes().tag(sync=True)
    """(dynamics, models, sequences, loops + 1, QUANTITIES) float32."""
    models = traitlets.Int().tag(sync=True)
    sequences = traitlets.Int().tag(sync=True)
    loops = traitlets.Int().tag(sync=True)
    trained = traitlets.Int().tag(sync=True)
    """Loops in training."""
    symbols = traitlets.Int().tag(sync=True)
    selected: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    """`dynamics`, the `model` and the `sequence`, from 1, and the `loop`; in JupyterLab Python may set it."""

    @traitlets.validate("selected")
    def _known_values(self, proposal: dict[str, Any]) -> dict[str, Any]:
        chosen = {**self.selected, **proposal["value"]}
        known: dict[str, Sequence[Any]] = {
            "dynamics": [name for name, *_ in self.dynamics], "model": range(1, self.models + 1),
            "sequence": range(1, self.sequences + 1), "loop": range(self.loops + 1),
        }  # fmt: skip
        for key, value in chosen.items():
            if isinstance(value, bool) or value not in known.get(key, ()):
                raise traitlets.TraitError(f"no {key} = {value}; choose from {list(known.get(key, known))}")
        return chosen

    def __repr__(self) -> str:
        """What is told where widgets cannot be shown."""
        many = f"{len(self.dynamics)} dynamics, {self.models} models each, {self.sequences} sequences"
        return f"Explorer (needs JavaScript): {many}, {self.loops} loops"


def motion_explorer(
    models: Mapping[str, Sequence[LoopedTransformer]], batch: Batch, loops: int = 60, sequences: int = 8
) -> MotionExplorer:
    """The explorer of models that loop by Hamiltonian dynamics; two of two dynamics add about 85 kB to the page.

    Args:
        models: for each dynamics, by its name, as many models, alike but in their parameters.
        batch: sequences, of which the first are offered.
        loops: that are followed.
        sequences: how many.

    Raises:
        ValueError: if there are not as many models of each dynamics, or if one has no energy, see `follow`, or goes
            where numbers are not finite.
    """
    many = {len(each) for each in models.values()}
    if len(many) != 1 or many == {0}:
        raise ValueError(f"needs as many models of each dynamics, got { {k: len(each) for k, each in models.items()} }")
    tokens, answers = batch.tokens[:sequences], batch.answers[:sequences, -1]
    first = next(iter(models.values()))[0].config
    values = torch.stack([torch.stack([along(m, tokens, answers, loops) for m in each]) for each in models.values()])
    if not bool(values.isfinite().all()):
        raise ValueError("a model's states or energies are not finite: there is nothing to draw")
    constants = [
        [name, config.damping, config.pull, config.slope]
        for name, config in ((name, each[0].config) for name, each in models.items())
    ]
    return MotionExplorer(
        dynamics=constants,
        values=values.float().numpy().tobytes(),
        models=many.pop(),
        sequences=len(tokens),
        loops=loops,
        trained=first.n_loops,
        symbols=first.vocabulary,
        selected={"dynamics": next(iter(models)), "model": 1, "sequence": 1, "loop": min(first.n_loops, loops)},
    )


@torch.no_grad()
def along(model: LoopedTransformer, tokens: Tensor, answers: Tensor, loops: int) -> Tensor:
    """`QUANTITIES` of sequences (S, n) and the answers to their last tokens, (S): (S, loops + 1, quantities)."""
    x, config = model.embed(tokens).detach(), model.config
    energy, path = potential_of(model, x), follow(model, x, loops + 1)  # a loop more shows what pulls at the last state
    velocities = path.velocities[:, :, -1] * config.slope**0.5  # V, (T + 2, S, d)
    slope = config.slope * torch.stack([energy.gradient(z)[:, -1] for z in path.states[:-1]])
    pull = velocities[1:] - config.damping * velocities[:-1] + slope  # α(F − Z)
    own = path.states[:-1, :, -1]
    rows = {
        "row_f": torch.stack([energy.block.last_row(z + x)[:, 0] for z in path.states[:-1]]),
        "row_e": (corners(energy.block, x) @ own[..., None] / config.temperature)[..., 0].softmax(-1),
    }
    found = {
        "potential": path.energy[:-1, :, -1],
        "kinetic": path.kinetic[:-1, :, -1],
        "pull": pull.norm(dim=-1) if config.pull else torch.zeros_like(own[..., 0]),
        "slope": slope.norm(dim=-1),
        "balance": torch.cosine_similarity(pull, slope, dim=-1) if config.pull else torch.zeros_like(own[..., 0]),
        "answer": model.read(own[..., None, :])[..., 0, :].softmax(-1)[:, torch.arange(len(answers)), answers],
    } | {name: torch.special.entr(row).sum(-1) / torch.tensor(row.shape[-1]).log() for name, row in rows.items()}
    return torch.stack([found[name] for name in QUANTITIES], -1).transpose(0, 1)
