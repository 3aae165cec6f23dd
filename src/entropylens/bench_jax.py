"""The benchmark's step in JAX, `jit` and `vmap` on the same trie; imported only where JAX is installed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from torch import Tensor

from entropylens.models.layouts import TrieLayout
from entropylens.models.transformer import Transformer, TransformerConfig

Parameters = dict[str, Any]


def jax_step(
    models: Sequence[Transformer], target: Tensor, config: TransformerConfig, lr: float
) -> Callable[[], list[float]]:
    """A function that does one Adam step of all models (pre-norm, `full`) and returns the losses before it."""
    names = dict(models[0].named_parameters())
    stacked = {
        name: jnp.stack([np.asarray(dict(m.named_parameters())[name].detach()) for m in models]) for name in names
    }
    table = jnp.asarray(config.language.edges(target).numpy())
    layout = TrieLayout(config.language)
    row = np.asarray(layout.paths[len(layout.tokens)][:, 0])
    inputs = (np.asarray(layout.tokens), np.asarray(layout.positions), row)

    def losses(p: Parameters) -> Any:
        each = jax.vmap(lambda one: -(table * _log_conditionals(one, inputs, config)).sum())(p)
        return each.sum(), each

    def step(p: Parameters, m: Parameters, v: Parameters, t: Any) -> Any:
        (_, each), g = jax.value_and_grad(losses, has_aux=True)(p)
        m = jax.tree.map(lambda a, b: 0.9 * a + 0.1 * b, m, g)
        v = jax.tree.map(lambda a, b: 0.999 * a + 0.001 * b * b, v, g)
        update = lambda a, x, y: a - lr * x / (1 - 0.9**t) / (jnp.sqrt(y / (1 - 0.999**t)) + 1e-8)  # noqa: E731
        return jax.tree.map(update, p, m, v), m, v, each

    compiled = jax.jit(step)
    state = [stacked, jax.tree.map(jnp.zeros_like, stacked), jax.tree.map(jnp.zeros_like, stacked), 0]

    def run() -> list[float]:
        state[3] += 1
        *state[:3], each = compiled(*state[:3], jnp.float32(state[3]))
        return [float(x) for x in np.asarray(each)]

    return run


def _log_conditionals(p: Parameters, inputs: tuple[Any, Any, Any], config: TransformerConfig) -> Any:
    tokens, positions, row = inputs
    x = p["token"][tokens] + p["position"][positions]
    for layer in range(config.n_layers):
        w = {name.split(".", 2)[2]: value for name, value in p.items() if name.startswith(f"blocks.{layer}.")}
        qkv = _norm(x, w["norm_mix.gain"], w["norm_mix.bias"]) @ w["mix.qkv.weight"] + w["mix.qkv.bias"]
        x, qkv = (x[row], qkv[row]) if layer == 0 else (x, qkv)
        x = x + _attend(qkv, config) @ w["mix.out.weight"] + w["mix.out.bias"]
        h = _norm(x, w["norm_ffn.gain"], w["norm_ffn.bias"]) @ w["ffn.keys.weight"] + w["ffn.keys.bias"]
        x = x + jax.nn.relu(h) @ w["ffn.values.weight"] + w["ffn.values.bias"]
    return jax.nn.log_softmax(_norm(x, p["norm.gain"], p["norm.bias"]) @ p["unembed.weight"] + p["unembed.bias"])


def _norm(x: Any, gain: Any, bias: Any) -> Any:
    centred = x - x.mean(-1, keepdims=True)
    return centred / jnp.sqrt((centred**2).mean(-1, keepdims=True) + 1e-5) * gain + bias


def _attend(qkv: Any, config: TransformerConfig) -> Any:
    """As `trie_kernel.attend_reference`: one level difference at a time, by broadcasting."""
    v_, t_ = config.language.vocab_size, config.language.length
    starts = config.language.level_starts
    n, width = qkv.shape[0], config.d_model // config.n_heads
    q, k, v = jnp.moveaxis(qkv.reshape(n, 3, config.n_heads, width), 1, 0)
    scores = []
    for up in range(t_):
        m = starts[t_ - up]
        s = (
            (q[starts[up] :].reshape(m, v_**up, config.n_heads, width) * k[:m, None])
            .sum(-1)
            .reshape(-1, config.n_heads)
        )
        scores.append(jnp.pad(s * width**-0.5, ((starts[up], 0), (0, 0)), constant_values=-jnp.inf))
    a = jax.nn.softmax(jnp.stack(scores, -1), -1)
    out = jnp.zeros((n, config.n_heads, width))
    for up in range(t_):
        m = starts[t_ - up]
        o = a[starts[up] :, :, up].reshape(m, v_**up, config.n_heads, 1) * v[:m, None]
        out = out + jnp.pad(o.reshape(-1, config.n_heads, width), ((starts[up], 0), (0, 0), (0, 0)))
    return out.reshape(n, config.d_model)
