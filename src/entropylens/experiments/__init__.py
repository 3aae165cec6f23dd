"""One file a claim: a grid, and what to measure on each cell."""

from entropylens.experiments import low_entropy
from entropylens.experiments.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {e.name: e for e in (low_entropy.EXPERIMENT,)}
"""By name, in the order of the chapters."""
