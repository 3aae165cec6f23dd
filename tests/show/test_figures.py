"""Figures: they draw, carry their alternative text, and come out the same each time."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from IPython.core.formatters import format_display_data
from matplotlib.figure import Figure
from scipy.stats import t as student

from entropylens.show import figures, figures_language, figures_transformer
from entropylens.tasks.language import Language
from entropylens.tasks.targets import autoregressive_dirichlet, sparse_support

LANGUAGE = Language(3, 3)
DENSE = autoregressive_dirichlet(LANGUAGE, seed=0)
SPARSE = sparse_support(LANGUAGE, 5, seed=0)


def every_picture() -> dict[str, figures.Picture]:
    random = torch.Generator().manual_seed(0)
    sizes, table = [10, 100], [[1.0, 2.0], [1.1, 2.1], [0.9, 2.0]]
    active = torch.rand(2, LANGUAGE.n_nodes, generator=random) - 0.5
    both = {"dense": DENSE, "sparse": SPARSE}
    return {
        "surprise": figures_language.surprise_curve(),
        "page": figures_language.sentence_page(LANGUAGE, both),
        "trie": figures_language.trie(LANGUAGE, SPARSE, LANGUAGE.sentences[SPARSE.argmax()]),
        "samples": figures_language.sample_entropies(
            sizes, dict.fromkeys(both, table), both, {name: [1.0, 2.0] for name in both}
        ),
        "trap": figures_language.trap([1.0, 0.5, 0.0], [1.0, 0.2, -0.1], [0.9, 0.3, 0.6], -0.1, 100),
        "tilt": figures_language.tilted_ranks(both),
        "ancestors": figures_transformer.ancestors(Language(2, 3), 4),
        "attention": figures_transformer.attention_table(["a", "b"], ["one"], torch.tensor([[0.3, 0.7]])),
        "contributions": figures_transformer.contributions(["x", "y"], {"p": [1.0, -1.0], "q": [0.0, 2.0]}),
        "neurons": figures_transformer.neuron_cards(LANGUAGE, ["n 1", "n 2"], active.relu(), torch.randn(2, 3)),
        "moments": figures_transformer.moments([0.9, 0.99], np.ones((2, 50)), (10, 20)),
        "approach": figures_transformer.approach({"a": np.ones((3, 20))}),
    }


@pytest.fixture(scope="module")
def pictures() -> dict[str, figures.Picture]:
    return every_picture()


def test_every_picture_is_svg_with_a_sentence_for_those_who_cannot_see_it(
    pictures: dict[str, figures.Picture],
) -> None:
    for name, one in pictures.items():
        assert "<svg" in one.svg, name
        assert len(one.alt) > 60, name
        assert "\n" not in one.alt, name


def test_a_notebook_gets_the_svg_and_its_alternative_text(pictures: dict[str, figures.Picture]) -> None:
    data, metadata = format_display_data(pictures["page"])
    assert data["image/svg+xml"] == pictures["page"].svg
    assert metadata["image/svg+xml"] == {"alt": pictures["page"].alt}


def test_the_same_picture_twice_is_the_same_text() -> None:
    assert figures_language.surprise_curve().svg == figures_language.surprise_curve().svg


def test_the_style_does_not_leak() -> None:
    import matplotlib as mpl

    before = dict(mpl.rcParams)
    figures_language.surprise_curve()
    assert dict(mpl.rcParams) == before


def test_the_page_has_a_cell_of_its_own_for_each_sentence() -> None:
    values = torch.arange(LANGUAGE.n_sentences).double()
    mosaic = figures_language._mosaic(LANGUAGE, values)
    assert sorted(mosaic[~np.isnan(mosaic)].tolist()) == values.tolist()


def test_the_interval_is_student_s() -> None:
    values = np.array([[1.0], [2.0], [4.0]])
    mean, half = figures.mean_and_interval(values)
    assert mean[0] == pytest.approx(7 / 3)
    assert half[0] == pytest.approx(student.ppf(0.975, 2) * values.std(ddof=1) / 3**0.5)


def test_a_canvas_has_its_panels_one_above_the_other() -> None:
    figure, axes = figures.canvas(2)
    assert isinstance(figure, Figure)
    assert len(axes) == 2


@pytest.mark.parametrize(("words", "told"), [(["a"], "a"), (["a", "b"], "a and b"), (["a", "b", "c"], "a, b and c")])
def test_a_listing_reads_like_a_sentence(words: list[str], told: str) -> None:
    assert figures.listing(words) == told


def test_contrasts_are_told_with_their_intervals() -> None:
    table = pd.DataFrame({"contrast": ["a", "b"], "effect": [0.1, -0.2], "low": [0.0, -0.3], "high": [0.2, -0.1]})
    other = table.assign(effect=[0.05, 0.05], low=[0.0, 0.0], high=[0.1, 0.1])
    alt = figures.contrasts({"proxy": table, "direct": other}, "growth", 0.05).alt
    assert "proxy: a +0.100 (+0.000 to +0.200), b -0.200 (-0.300 to -0.100)" in alt
    assert "direct: a +0.050 (+0.000 to +0.100), b +0.050" in alt
