"""One file a claim: a grid, and what to measure on each cell."""

from entropylens.experiments import (
    active_neurons,
    bound_search,
    energy_entropy,
    energy_readings,
    ffn_or_attention,
    implicit_alpha,
    interventions,
    looped_contraction,
    looped_induction,
    loss_landscape,
    low_entropy,
    residual_dominance,
    spikes,
)
from entropylens.experiments.experiment import Experiment

EXPERIMENTS: dict[str, Experiment] = {
    chapter.EXPERIMENT.name: chapter.EXPERIMENT
    for chapter in (
        low_entropy,
        ffn_or_attention,
        implicit_alpha,
        residual_dominance,
        active_neurons,
        spikes,
        interventions,
        bound_search,
        looped_induction,
        looped_contraction,
        energy_entropy,
        energy_readings,
        loss_landscape,
    )
}
"""By name, in the order of the chapters."""
