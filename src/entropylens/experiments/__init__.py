"""One file a claim: a grid, and what to measure on each cell."""

from entropylens.experiments import (
    active_neurons,
    bound_search,
    energy_entropy,
    energy_readings,
    ffn_or_attention,
    gated_loops,
    gated_text,
    implicit_alpha,
    interventions,
    known_source,
    larger_text,
    latent_dynamics,
    looped_contraction,
    looped_induction,
    looped_or_deep,
    loss_landscape,
    low_entropy,
    real_text,
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
        gated_loops,
        looped_or_deep,
        latent_dynamics,
        known_source,
        real_text,
        gated_text,
        larger_text,
    )
}
"""By name, in the order of the chapters."""
