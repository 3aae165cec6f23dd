"""A looped model as the maps that the contraction theorem is about, and is not about.

Shapes: n tokens, d width; one sequence.
"""

from __future__ import annotations

from torch import Tensor

from entropylens.measures.contraction import Head
from entropylens.measures.operators import Map
from entropylens.models.looped import LoopBlock, LoopedTransformer, attention_rows


def head_of(model: LoopedTransformer, loop: int = 0) -> Head:
    """The head of a loop's block, without its norms and its MLP, in the model's number type."""
    block = model.blocks[loop % model.config.n_blocks]
    assert isinstance(block, LoopBlock)
    w_q, w_k, w_v = block.qkv.detach().chunk(3, dim=-1)
    return Head(w_q, w_k, w_v, model.config.d_model**-0.5, model.config.causal)


def branch_of(model: LoopedTransformer, x: Tensor, loop: int = 0) -> Map:
    """F(· + X) of one sequence, (n, d) to (n, d), with its MLP and its norms: what a loop adds.

    `LoopBlock.reference` once more, with a ReLU that torch.func can differentiate in both modes.
    """
    block = model.blocks[loop % model.config.n_blocks]
    assert isinstance(block, LoopBlock)
    mlp = block.mlp

    def branch(z: Tensor) -> Tensor:
        qkv = block.norm_in(z + x) @ block.qkv
        u = attention_rows(qkv, model.config.causal) @ qkv.chunk(3, dim=-1)[2]
        out = u if mlp is None else u + mlp.values(mlp.keys(block.norm_mid(u)).relu())
        result: Tensor = block.norm_out(out)
        return result

    return branch
