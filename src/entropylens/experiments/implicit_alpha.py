"""Claim 5: does training act as if it minimised cross-entropy plus α times the model's own entropy?

Trains nothing of its own: the models are those of claims 1 and 2, and each is projected on what the claim says it
should be, and on rivals with as many parameters (one).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from torch import Tensor

from entropylens.experiments.experiment import Experiment, Spec
from entropylens.experiments.ffn_or_attention import EXPERIMENT as FFN_OR_ATTENTION
from entropylens.experiments.low_entropy import EXPERIMENT as LOW_ENTROPY
from entropylens.measures.explanations import Projection, divergence, explain, families, project
from entropylens.measures.regularised import Array, largest_alpha
from entropylens.tasks.language import Language
from entropylens.training.data import finite_sample
from entropylens.training.population import Member
from entropylens.training.spec import PopulationSpec

SOURCES: Mapping[str, Experiment] = {e.name: e for e in (LOW_ENTROPY, FFN_OR_ATTENTION)}
KEPT = (
    "design", "main", "d_model", "norm", "family", "tilt", "regime", "n_samples", "batch_size", "seed", "final", "bias",
    "kl", "size", "match", "variant", "leak",
)  # fmt: skip
"""Columns of claims 1 and 2 that say which model it is, and how far from its target."""
NAMES = ("escort", "exact", "sample", "sample escort", "uniform")
"""The escort and the exact minimiser tell one story, the others are its rivals."""


def populations(profile: str) -> Sequence[Spec]:
    """The populations of claims 1 and 2."""
    return [spec for source in SOURCES.values() for spec in source.populations[profile]()]


def measure(spec: PopulationSpec, trained: Mapping[str, Tensor]) -> pd.DataFrame:
    """One row a member, of the last snapshot: `KEPT`, and what each family of `measures.explanations` makes of it.

    `source` is the experiment that trained the model. For each family: its parameter, its `share` of
    KL(p_tgt‖pθ) (both on the target's support), and `residual`, nats. `alpha_limit` is where the exact minimiser's
    branch ends. `escort_reverse` and its share are those of the other direction, KL(pθ‖p_φ). `sample_escort_gain` is
    the share of KL(p̂‖pθ) that the sample's escort explains. `alpha_share` is the escort's share where its α is above
    zero, else 0; `escort_lead` its share minus that of `best`, the best rival. What a diverged model has is NaN.
    """
    source = "ffn_or_attention" if "/" in spec.design else "low_entropy"
    last = {**trained, "log_probs": trained["log_probs"][-1:], "snapshot_steps": trained["snapshot_steps"][-1:]}
    rows = SOURCES[source].measure(spec, last)
    models = zip(trained["log_probs"][-1], spec.build_members(), strict=True)
    found = [_told(spec.config.language, log_p.numpy(), member) for log_p, member in models]
    limits = [largest_alpha(member.target.numpy()) for member in spec.build_members()]
    kept = rows.reindex(columns=list(KEPT)).assign(source=source, alpha_limit=limits)
    return pd.concat([kept, pd.DataFrame(found)], axis=1)


def _told(language: Language, log_p: Array, member: Member) -> dict[str, float | str]:
    """The columns of one model."""
    target, sample, gain = member.target.numpy(), None, np.nan
    if member.data.n_samples is not None:
        drawn = finite_sample(language, member.target, member.data.n_samples, member.seed)
        sample = language.empirical(drawn).numpy()
    found = explain(log_p, target, sample)
    if sample is not None:
        gain = 1 - found["sample escort"].residual / divergence(log_p, target, sample)
    reverse = project(log_p, target, families(target, None)["escort"], from_model=True)
    other = {"escort_reverse": reverse.parameter, "escort_reverse_share": reverse.share, "sample_escort_gain": gain}
    return _columns(found) | other


def _columns(projections: Mapping[str, Projection]) -> dict[str, float | str]:
    shares = {name: p.share for name, p in projections.items()}
    escort = projections["escort"]
    columns: dict[str, float | str] = {}
    for name in NAMES:
        p = projections.get(name, Projection(np.nan, np.nan, np.nan))
        label = name.replace(" ", "_")
        columns |= {label: p.parameter, f"{label}_share": p.share, f"{label}_residual": p.residual}
    rivals = {name: share for name, share in shares.items() if name not in ("escort", "exact")}
    best = max(rivals, key=lambda name: rivals[name])
    return columns | {
        "best": best,
        "alpha_share": 0.0 if escort.parameter <= 0 else escort.share,
        "escort_lead": escort.share - rivals[best],
    }


EXPERIMENT = Experiment(
    name="implicit_alpha",
    claims=("LE-5", "LE-q1"),
    populations={"quick": lambda: populations("quick"), "full": lambda: populations("full")},
    measure=measure,
)
