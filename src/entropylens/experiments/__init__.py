"""One file a claim: a grid, and what to measure on each cell."""

from entropylens.experiments import (
    ffn_or_attention,
    implicit_alpha,
    low_entropy,
    residual_dominance,
)
from entropylens.experiments.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    chapter.EXPERIMENT.name: chapter.EXPERIMENT
    for chapter in (low_entropy, ffn_or_attention, implicit_alpha, residual_dominance)
}
"""By name, in the order of the chapters."""
