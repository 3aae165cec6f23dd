"""A looped transformer, with a single head if nothing else is said: a block that is applied to its own state again.

    X = embedding + position        (n, d)   enters at every loop
    Z_0 = 0                         (n, d)   the state; X itself, where it is to `start` from the `input`
    Z_{t+1} = Z_t + c F(Z_t + X)             T times; a `gated` or `hamiltonian` update does something else with F
    logits = LN(Z_T) W_U + b        (n, V)

F is a head, softmax(Y W_Q (Y W_K)ᵀ / √d) Y W_V, then an MLP, with or without a layer norm. (With H heads each has d / H
columns of the three matrices, and what they read is put side by side.) Where Lam (arXiv 2601.09588)
leaves open what goes where, the choice is ours and is told at `LoopedConfig`.

Shapes: B sequences, n tokens, d = d_model, V symbols, T loops. Everything broadcasts over leading dimensions, in which
a population of models may be stacked (training/looped.py).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from entropylens.models.entropies import tsallis
from entropylens.models.gates import PARAMETERS, Gate, Whose, assigned, opened
from entropylens.models.loop_kernel import ORDER, has_kernel, loop_block, loop_block_entropy
from entropylens.models.transformer import FeedForward, Linear, Norm1d

Update = Literal["plain", "gated", "hamiltonian"]
Start = Literal["zero", "input"]
Keep = Literal["all", "last"]
LoopNorm = Literal["none", "pre", "post"]


@dataclass(frozen=True)
class LoopedConfig:
    """The shape of a looped transformer.

    Attributes:
        vocabulary: V.
        d_model: d, also of queries, keys and values.
        n_loops: T.
        n_heads: H, a divisor of d.
        d_ff: neurons of the MLP, None: 4 d; 0: no MLP.
        norm: `post`: F(Y) = LN(u + MLP(u)) with u the head's output; `pre`: F(Y) = u + MLP(LN(u)), and the head sees
            LN(Y); `none`: F(Y) = u + MLP(u). With a norm, the read-out sees LN(Z_T).
        causal: whether a token sees itself and those before it only.
        hint: whether a token's embedding has a second part that is chosen by the token before it.
        position_scale: factor of the sinusoidal positions; 0: none.
        n_blocks: k blocks, used in turn.
        residual: whether F is added to the state; if not, Z_{t+1} = F(Z_t + X), the iteration of the theorem.
        step_size: c, a constant factor of what a plain or gated update adds.
        update: how F changes the state, see `LoopedTransformer.step`.
        gate: of a gated update, see `models/gates.py`.
        gate_of: whose gate a token gets: its own, or, as controls, another sequence's, or the mean of all sequences.
        start: Z_0, `zero` or `input`, X. A state that only an energy moves knows its token from there or not at all.
        damping, pull, slope, temperature: μ, α, β and τ of the Hamiltonian update, which the paper does not give.
    """

    vocabulary: int = 16
    d_model: int = 8
    n_loops: int = 25
    n_heads: int = 1
    d_ff: int | None = None
    norm: LoopNorm = "post"
    causal: bool = True
    hint: bool = False
    position_scale: float = 0.15
    n_blocks: int = 1
    residual: bool = True
    step_size: float = 1.0
    update: Update = "plain"
    gate: Gate = "learned"
    gate_of: Whose = "own"
    start: Start = "zero"
    damping: float = 0.5
    pull: float = 0.5
    slope: float = 0.1
    temperature: float = 1.0

    def __post_init__(self) -> None:
        for name in ("vocabulary", "d_model", "n_loops", "n_heads", "n_blocks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.d_model % self.n_heads:
            raise ValueError(f"n_heads must divide d_model = {self.d_model}, got {self.n_heads}")
        if self.update == "hamiltonian" and self.n_heads > 1:
            raise ValueError(f"a hamiltonian update has one head, got {self.n_heads}")
        if self.d_ff is not None and self.d_ff < 0:
            raise ValueError(f"d_ff is 0, for none, or more, got {self.d_ff}")
        for name, choices in (
            ("norm", LoopNorm),
            ("update", Update),
            ("gate", Gate),
            ("gate_of", Whose),
            ("start", Start),
        ):
            if getattr(self, name) not in get_args(choices):
                raise ValueError(f"unknown {name} {getattr(self, name)!r}; choose from {', '.join(get_args(choices))}")
        self._check_step_size()
        if self.update != "plain" and not self.residual:
            raise ValueError(f"a {self.update} update is residual")

    def _check_step_size(self) -> None:
        if not 0 < self.step_size < math.inf:
            raise ValueError(f"step_size must be a finite number above 0, got {self.step_size}")
        if self.step_size != 1 and (self.update == "hamiltonian" or not self.residual):
            raise ValueError("a step_size is a factor of what a plain or gated update adds to the state")

    @property
    def n_neurons(self) -> int:
        """Of the MLP."""
        return 4 * self.d_model if self.d_ff is None else self.d_ff

    @property
    def gate_parameters(self) -> int:
        """How many parameters the gate has."""
        return PARAMETERS.get(self.gate, 0) if self.update == "gated" else 0

    def build(self, generator: torch.Generator | None = None) -> LoopedTransformer:
        """A model of this shape."""
        return LoopedTransformer(self, generator)


@dataclass
class LoopTrace:
    """What a pass went through, one entry a loop; and the state before the first."""

    keep: Keep = "all"
    """Attention rows: all, for which attention is computed by its definition, or those of the last token alone, which
    are made from the states at the end."""
    differentiable: bool = True
    """Whether autograd is to see the last token's rows; all rows are those that the pass is made of."""
    states: list[Tensor] = field(default_factory=list)
    """(*, B, n, d); T + 1 of them."""
    rows: list[Tensor] = field(default_factory=list)
    """(*, B, n, n) attention; (*, B, 1, n) if only the last token's is kept; averaged over heads."""
    gates: list[Tensor] = field(default_factory=list)
    """(*, B, n) of a gated update."""

    def entropies(self) -> Tensor:
        """Shannon entropy of every attention row that is kept, (T, *, B, n or 1), nats."""
        entropies: Tensor = torch.special.entr(torch.stack(self.rows)).sum(-1)
        return entropies


class LoopBlock(nn.Module):
    """F: a head, then an MLP."""

    def __init__(self, config: LoopedConfig) -> None:
        super().__init__()
        d = config.d_model
        self.config = config
        self.qkv = nn.Parameter(torch.randn(d, 3 * d) * d**-0.5)
        self.mlp = FeedForward(d, config.n_neurons) if config.n_neurons else None
        self.norm_in = Norm1d(d, config.norm == "pre")
        self.norm_mid = Norm1d(d, config.norm == "pre" and self.mlp is not None)
        self.norm_out = Norm1d(d, config.norm == "post")

    def forward(self, y: Tensor, trace: LoopTrace | None = None) -> Tensor:
        """(*, B, n, d) to (*, B, n, d): on a CPU by a kernel, unless whole attention matrices are to be kept."""
        if not self._is_fused(y, trace):
            return self.reference(y, trace)
        return loop_block(*self._arguments(y)).view_as(y)

    def with_entropy(self, y: Tensor, trace: LoopTrace | None = None) -> tuple[Tensor, Tensor]:
        """What `forward` gives, (*, B, n, d), and the Tsallis entropy of order `ORDER` of each token's row, (*, B, n).

        Of several heads, it is that of their rows' average, as a trace keeps it.
        """
        if not self._is_fused(y, trace):
            kept = trace if trace is not None and trace.keep == "all" else LoopTrace()
            f = self.reference(y, kept)
            return f, tsallis(kept.rows[-1], ORDER)
        f, entropy = loop_block_entropy(*self._arguments(y))
        return f.view_as(y), entropy.view(y.shape[:-1])

    def last_row(self, y: Tensor) -> Tensor:
        """What the last token attends to, averaged over heads, (*, B, n, d) to (*, B, 1, n); others' rows are not made.

        A query goes back through W_K, so that states need not go through it: ⟨y_n W_Q, y_j W_K⟩ = ⟨y_n W_Q W_Kᵀ, y_j⟩.
        """
        seen, heads = self.norm_in(y.flatten(-3, -2)).unflatten(-2, y.shape[-3:-1]), self.config.n_heads
        w_q, w_k, _ = self.qkv.chunk(3, dim=-1)
        q = (seen[..., -1, :] @ w_q).unflatten(-1, (heads, -1))  # (*, B, H, d / H)
        query = torch.einsum("...bhe,...dhe->...bhd", q * q.shape[-1] ** -0.5, w_k.unflatten(-1, (heads, -1)))
        logits = (query[..., None, :] * seen[..., None, :, :]).sum(-1)  # faster than many products of small matrices
        row: Tensor = logits.softmax(-1).mean(-2, keepdim=True)
        return row

    def reference(self, y: Tensor, trace: LoopTrace | None = None) -> Tensor:
        """The definition, (*, B, n, d) to (*, B, n, d); it can be differentiated as often as wanted."""
        batch, tokens = y.shape[-3:-1]
        qkv = (self.norm_in(y.flatten(-3, -2)) @ self.qkv).unflatten(-2, (batch, tokens))
        heads = [x.unflatten(-1, (self.config.n_heads, -1)).transpose(-3, -2) for x in qkv.chunk(3, dim=-1)]
        rows = attention_rows(torch.cat(heads, dim=-1), self.config.causal)  # (*, B, H, n, n)
        if trace is not None and trace.keep == "all":
            trace.rows.append(rows.mean(-3))
        u = (rows @ heads[2]).transpose(-3, -2).flatten(-2).flatten(-3, -2)
        # FeedForward's own ReLU can be differentiated in one mode only
        out = u if self.mlp is None else u + self.mlp.values(self.mlp.keys(self.norm_mid(u)).relu())
        folded: Tensor = self.norm_out(out).unflatten(-2, (batch, tokens))
        return folded

    def _is_fused(self, y: Tensor, trace: LoopTrace | None) -> bool:
        """Whether the kernel is taken."""
        whole = trace is not None and trace.keep == "all"
        fits = self.config.n_heads == 1 and y.ndim in (3, 4) and y.device.type == "cpu"
        return fits and not whole and has_kernel(y.dtype)

    def _arguments(self, y: Tensor) -> tuple[Tensor, Tensor, int, bool, str]:
        """The kernel's, of which states (M, B, n, d) and parameters (M, P) are the first."""
        mlp = [] if self.mlp is None else [x for w in (self.mlp.keys, self.mlp.values) for x in (w.weight, w.bias)]
        norms = [x for n in (self.norm_in, self.norm_mid, self.norm_out) if n.on for x in (n.gain, n.bias)]
        theta = torch.cat([p.flatten(-2) for p in (self.qkv, *mlp, *norms)], dim=-1)
        y = y if y.ndim == 4 else y[None]
        return y, theta.expand(len(y), -1), self.config.n_neurons, self.config.causal, self.config.norm


class LoopedTransformer(nn.Module):
    """Embedding, T loops, logits.

    Args:
        config: the shape.
        generator: draws the initial parameters, independently of any global state; None takes PyTorch's.
    """

    def __init__(self, config: LoopedConfig, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self.config = config
        d = config.d_model
        self.token = nn.Parameter(torch.randn(config.vocabulary, d))
        self.previous = nn.Parameter(torch.randn(config.vocabulary + 1, d)) if config.hint else None
        self.blocks = nn.ModuleList(LoopBlock(config) for _ in range(config.n_blocks))
        self.gate = nn.Parameter(torch.zeros(1, config.gate_parameters)) if config.gate_parameters else None
        self.norm = Norm1d(d, config.norm != "none")
        self.unembed = Linear(d, config.vocabulary)
        if generator is not None:
            self._redraw(generator)

    @torch.no_grad()
    def _redraw(self, generator: torch.Generator) -> None:
        for p in (self.token, self.previous):
            if p is not None:
                p.normal_(generator=generator)
        for module in self.modules():
            if isinstance(module, Linear):
                module.weight.normal_(std=module.weight.shape[0] ** -0.5, generator=generator)
            elif isinstance(module, LoopBlock):
                module.qkv.normal_(std=module.qkv.shape[0] ** -0.5, generator=generator)

    def embed(self, tokens: Tensor) -> Tensor:
        """X: symbols (*, B, n) to (*, B, n, d)."""
        x = _look_up(self.token, tokens)
        if self.previous is not None:  # the first token has none before it: row V
            before = F.pad(tokens[..., :-1], (1, 0), value=self.config.vocabulary)
            x = x + _look_up(self.previous, before)
        if self.config.position_scale:
            x = x + self.config.position_scale * sinusoids(tokens.shape[-1], self.config.d_model).to(x)
        return x

    def step(
        self, z: Tensor, x: Tensor, velocity: Tensor, loop: int, trace: LoopTrace | None = None
    ) -> tuple[Tensor, Tensor]:
        """One loop: state and velocity (*, B, n, d) to the next ones.

        plain: Z + c F(Z + X). gated: Z + c g ∘ F(Z + X), one g for each token, see `models/gates.py`. hamiltonian:
        V' = μV + α(F − Z) − β∇E_τ(Z), Z' = Z + V', with E_τ(Z) = −τ Σ_i log Σ_j exp(⟨z_i W_Q, x_j W_K⟩ / (τ√d)).
        """
        block, c = self.blocks[loop % self.config.n_blocks], self.config
        assert isinstance(block, LoopBlock)
        if c.update == "gated":
            f, entropy = block.with_entropy(z + x, trace)
            gates = assigned(opened(c.gate, entropy, c.causal, self.gate), c.gate_of)
            if trace is not None:
                trace.gates.append(gates)
            f = gates[..., None] * f
        else:
            f = block(z + x, trace)
        if c.update == "hamiltonian":
            velocity = c.damping * velocity + c.pull * (f - z) - c.slope * energy_gradient(block, z, x, c.temperature)
            return z + velocity, velocity
        f = f if c.step_size == 1 else c.step_size * f
        return (z + f if c.residual else f), velocity

    def forward(
        self, tokens: Tensor, trace: LoopTrace | None = None, n_loops: int | None = None, *, last: bool = False
    ) -> Tensor:
        """Logits at every position, (*, B, n) to (*, B, n, V).

        Args:
            tokens: symbols.
            trace: where states and attention rows are kept.
            n_loops: other than the configuration's.
            last: whether only the last token's logits are wanted, (*, B, 1, V).
        """
        z = self.run(self.embed(tokens), trace, n_loops)
        return self.read(z[..., -1:, :] if last else z)

    def run(self, x: Tensor, trace: LoopTrace | None = None, n_loops: int | None = None) -> Tensor:
        """Z_T from X, both (*, B, n, d)."""
        z, velocity = self.begin(x)
        if trace is not None:
            trace.states.append(z)
        for loop in range(self.config.n_loops if n_loops is None else n_loops):
            z, velocity = self.step(z, x, velocity, loop, trace)
            if trace is not None:
                trace.states.append(z)
        if trace is not None and trace.keep == "last":
            with torch.set_grad_enabled(trace.differentiable and torch.is_grad_enabled()):
                trace.rows += self.last_rows(trace.states, x)
        return z

    def begin(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Z_0 and the velocity there, 0, both (*, B, n, d) as X."""
        nothing = torch.zeros_like(x)
        return (x if self.config.start == "input" else nothing), nothing

    def altered(self, **changed: object) -> LoopedTransformer:
        """The same parameters, not copied, looped by another rule: fields of the configuration that have none."""
        other = copy.copy(self)
        other.config = replace(self.config, **changed)  # type: ignore[arg-type]
        return other

    def last_rows(self, states: Sequence[Tensor], x: Tensor) -> list[Tensor]:
        """What the last token attends to in each loop, (*, B, 1, n) each, from Z_0 … Z_T and X, (*, B, n, d) each."""
        if len(states) < 2:
            return []
        y = torch.stack(list(states[:-1])) + x
        found: dict[int, Tensor] = {}
        for first, block in enumerate(self.blocks):  # the loops of a block together: a few large steps, not many small
            assert isinstance(block, LoopBlock)
            at = range(first, len(y), self.config.n_blocks)
            found |= dict(zip(at, block.last_row(y[first :: self.config.n_blocks]), strict=True))
        return [found[loop] for loop in range(len(y))]

    def read(self, z: Tensor) -> Tensor:
        """Logits (*, B, n, V) of a state (*, B, n, d)."""
        logits: Tensor = self.unembed(self.norm(z.flatten(-3, -2))).unflatten(-2, z.shape[-3:-1])
        return logits

    @property
    def n_parameters(self) -> int:
        """Number of trainable numbers."""
        return sum(p.numel() for p in self.parameters())


class Settled(NamedTuple):
    """What `settle` came to."""

    logits: Tensor
    """(*, B, n, V)."""
    loops: int
    """That it took."""
    converged: bool
    """Whether the last loop was within the tolerance."""


@torch.no_grad()
def settle(model: LoopedTransformer, tokens: Tensor, tolerance: float = 1e-4, most: int = 1000) -> Settled:
    """Loop until no token's state moves by more than the tolerance, relative to its size, or `most` times.

    Raises:
        ValueError: for a tolerance that is not above 0, or fewer than one loop.
    """
    if not tolerance > 0 or most < 1:
        raise ValueError(f"needs a tolerance above 0 and a loop or more, got {tolerance} and {most}")
    x = model.embed(tokens)
    z, velocity = model.begin(x)
    converged, loops = False, 0
    while not converged and loops < most:
        before = z
        z, velocity = model.step(z, x, velocity, loops)
        converged, loops = bool(((z - before).norm(dim=-1) <= tolerance * z.norm(dim=-1)).all()), loops + 1
    return Settled(model.read(z), loops, converged)


def sinusoids(n: int, d: int) -> Tensor:
    """Positions as sines and cosines of wavelengths from 2π to 2π·10⁴, (n, d), float64; sine and cosine in turn."""
    at = torch.arange(n, dtype=torch.float64)[:, None] / 10_000 ** (torch.arange(0, d, 2, dtype=torch.float64) / d)
    waves: Tensor = torch.stack([at.sin(), at.cos()], dim=-1).flatten(-2)[:, :d]
    return waves


def attention_rows(qkv: Tensor, causal: bool) -> Tensor:
    """softmax(q kᵀ / √d) row by row, (*, n, 3 d) to (*, n, n)."""
    q, k, _ = qkv.chunk(3, dim=-1)
    logits = q @ k.mT * q.shape[-1] ** -0.5
    if causal:
        future = torch.ones(logits.shape[-2:], dtype=torch.bool, device=logits.device).triu(1)
        logits = logits.masked_fill(future, -torch.inf)
    rows: Tensor = logits.softmax(-1)
    return rows


def energy_gradient(block: LoopBlock, z: Tensor, x: Tensor, temperature: float) -> Tensor:
    """∇E_τ(Z), (*, B, n, d): less the keys that a token looks at, on average, sent back through W_Q.

    E_τ = −τ Σ_i log Σ_j exp(⟨z_i W_Q, x_j W_K⟩ / (τ√d)), so that its gradient in z_i is −Σ_j p_ij x_j W_K W_Qᵀ / √d.
    """
    w_q, w_k, _ = block.qkv.chunk(3, dim=-1)
    flat_z, flat_x = z.flatten(-3, -2), x.flatten(-3, -2)
    q, k = ((a @ w).unflatten(-2, z.shape[-3:-1]) for a, w in ((flat_z, w_q), (flat_x, w_k)))
    scale = q.shape[-1] ** -0.5
    looked = attention_rows(torch.cat([q / temperature, k, k], dim=-1), block.config.causal) @ k
    gradient: Tensor = -scale * (looked.flatten(-3, -2) @ w_q.mT).unflatten(-2, z.shape[-3:-1])
    return gradient


def _look_up(table: Tensor, at: Tensor) -> Tensor:
    """Rows of (*, V, d) at symbols (*, B, n): (*, B, n, d). A product, so that its gradient is deterministic."""
    flat = F.one_hot(at.flatten(-2), table.shape[-2]).to(table) @ table
    chosen: Tensor = flat.unflatten(-2, at.shape[-2:])
    return chosen
