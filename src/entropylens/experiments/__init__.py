"""One file a claim: a grid, and what to measure on each cell."""

from entropylens.experiments import ffn_or_attention, low_entropy
from entropylens.experiments.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {e.name: e for e in (low_entropy.EXPERIMENT, ffn_or_attention.EXPERIMENT)}
"""By name, in the order of the chapters."""
