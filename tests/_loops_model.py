"""What a looped model makes of sequences, by PyTorch and by the page's JavaScript in Node, in double precision.

Shapes: T loops, n tokens, d = d_model, V symbols.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from entropylens.models.looped import LoopedTransformer, LoopTrace
from entropylens.show.explorers import source
from entropylens.show.explorers.loops import LoopExplorer
from tests._trie_model import in_node

EXACT = 1e-10
MODEL = source("loops_model.js")
ANSWERS = """
/** Of each model and each sequence of symbols, all that is computed. */
function looped([models, texts, loops]) {
  return models.map(({ theta, ...config }) => {
    const model = new LoopedModel(config, Float64Array.from(theta));
    return texts.map((symbols) => {
      const { states, rows } = model.run(symbols, loops);
      return {
        states, rows, answers: states.map((z) => z.map((row) => model.probabilities(row))),
        moves: rows.map((_, t) => states[t].map((row, i) => distance(row, states[t + 1][i]))),
        places: symbols.map((_, at) => placeToLookAt(symbols, at)),
      };
    });
  });
}
"""


class Pass(NamedTuple):
    """Of one sequence."""

    states: Tensor
    """(T + 1, n, d)"""
    rows: Tensor
    """(T, n, n)"""
    answers: Tensor
    """(T + 1, n, V) probabilities."""
    moves: Tensor
    """(T, n), how far each loop moves each token's state."""


@torch.no_grad()
def by_torch(model: LoopedTransformer, symbols: list[int], loops: int) -> Pass:
    trace = LoopTrace()
    model.double()(torch.tensor([symbols]), trace, loops)
    states = torch.stack(trace.states)
    answers = model.read(states).softmax(-1)[:, 0]
    return Pass(states[:, 0], torch.stack(trace.rows)[:, 0], answers, states.diff(dim=0).norm(dim=-1)[:, 0])


def by_node(explorer: LoopExplorer, texts: list[list[int]], loops: int, code: str = MODEL) -> Any:
    """Of each of an explorer's models, of each text, what `looped` returns."""
    sizes = [sum(rows * columns for _, rows, columns in m["shapes"]) for m in explorer.models]
    theta = np.split(np.frombuffer(explorer.parameters, np.float64), np.cumsum(sizes)[:-1])
    models = [{**m, "theta": x.tolist()} for m, x in zip(explorer.models, theta, strict=True)]
    return in_node("looped", [models, texts, loops], code + ANSWERS)


def compare(found: Any, wanted: Pass) -> None:
    """AssertionError where Node's pass is not PyTorch's, within `EXACT` of the largest entry if that is above 1."""
    for name, right in wanted._asdict().items():
        off = (torch.tensor(found[name], dtype=torch.float64) - right).abs().max()
        assert float(off) <= EXACT * max(1.0, float(right.abs().max())), f"{name} are off by {float(off):.1e}"
