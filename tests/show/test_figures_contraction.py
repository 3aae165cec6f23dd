"""The figures of chapter 10: what they say is what was drawn."""

from __future__ import annotations

import itertools

import pandas as pd
import torch

from entropylens.measures.contraction import Head
from entropylens.measures.contraction_steps import heated
from entropylens.show import figures_contraction as draw


def test_roots_fall_with_entropy_and_those_above_two_fall_below_the_norm() -> None:
    picture = draw.roots(torch.randn(16, 16, generator=torch.Generator().manual_seed(0)).double(), factors=9)
    assert "16 tokens" in picture.alt
    assert "q = 1: from 4.00 to 4.00" in picture.alt  # √16, whatever the rows
    assert " to 0.50; ‖S‖" in picture.alt  # 16^(1/4 − 1/2)
    assert picture.alt.endswith("to 1.00.")


def test_steps_tell_both_columns() -> None:
    table = pd.DataFrame({"at random": [0.25, 0.5], "climbing": [1.0, 0.9999]}, index=["(a)", "all"])
    assert "(a): 0.250 at random, 1.0000 climbing; all: 0.500 at random" in draw.steps(table).alt


def test_the_main_figure_names_means_over_searches() -> None:
    rows = pd.DataFrame(
        [
            {"norm": norm, "strength": m, "ratio": ratio + 0.1 * seed, "random": 0.5, "seed": seed}
            for (norm, ratio), m, seed in itertools.product(
                {"spectral": 1.4, "frobenius": 0.8}.items(), (1.0, 4.0), (0, 1)
            )
        ]
    )
    assert "spectral: 1: 1.450, 4: 1.450; frobenius: 1: 0.850" in draw.by_strength(rows).alt


def test_sizes_and_bounds_are_told_from_end_to_end() -> None:
    random = torch.Generator().manual_seed(0)
    y, w_q, w_k, w_v = (torch.randn(4, 4, generator=random).double() for _ in range(4))
    table = heated(Head(w_q, w_k, w_v), 3 * y, [4.0, 0.1])
    assert table["corrected"].isna().all()  # outside of the ball it is no bound
    alt = draw.by_entropy(table, "a head").alt
    assert f"‖DF‖, exact: {table['exact'].iloc[0]:.3g} to {table['exact'].iloc[1]:.3g}" in alt
    assert "bound, ours" in alt
    assert "bound, corrected" not in alt
