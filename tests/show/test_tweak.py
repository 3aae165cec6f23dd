"""The panel: it trains in the background, can be stopped, says what went wrong, and draws runs over a figure."""

from __future__ import annotations

import base64
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure

from entropylens.experiments import gated_loops, known_source, looped_induction, low_entropy
from entropylens.experiments.experiment import Measure
from entropylens.experiments.looped_arms import wide
from entropylens.show.figures import Picture, canvas, picture
from entropylens.show.tweak import Choice, Number, Panel, Progress, Stopped, TweakedRun, tweak, usually
from entropylens.show.tweaks_figures import MARKERS, over
from entropylens.show.tweaks_training import alone, measured, train_one
from entropylens.training.population import train
from entropylens.training.spec import PopulationSpec

PARAMETERS = {"width": Choice("width", (8, 16), 16), "steps": Number("steps", 1, 100_000, 3)}
LONG = 20.0
"""Seconds after which a test gives up."""


@picture
def published(levels: Sequence[float]) -> tuple[Figure, str]:
    figure, axes = canvas(len(levels))
    for ax, level in zip(axes, levels, strict=True):
        ax.plot([8, 16], [level, level])
        ax.set_title(f"level {level:g}")
    return figure, "Two levels, as published."


def train_slowly(progress: Progress, width: int, steps: int) -> float:
    progress.total = steps
    for _ in range(steps):
        time.sleep(0.001)
        progress(1)
    return float(width)


DRAW = over(published, [0.0, 1.0], at=lambda width: [("level 1", width, 0.5)])


@pytest.fixture(autouse=True)
def _no_building(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("ENTROPYLENS_PANELS", raising=False)
    yield
    if Panel._at_work:
        Panel._at_work.stop()
        Panel._at_work.wait(LONG)


def panel_of(run: Callable[..., object] = train_slowly, draw: Callable[..., Picture] = DRAW) -> Panel:
    panel = tweak(PARAMETERS, run, draw)
    assert panel is not None
    return panel


def trained(panel: Panel, **chosen: object) -> Panel:
    for name, value in chosen.items():
        panel.controls[name].value = value
    panel.train_button.click()
    panel.wait(LONG)
    return panel


def shown(panel: Panel) -> str:
    """The SVG that the panel shows."""
    return base64.b64decode(panel.picture.value.partition("base64,")[2].partition('"')[0]).decode()


def until(true: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_run_is_trained_with_what_is_chosen_and_drawn() -> None:
    panel = trained(panel_of())
    assert [(run.label, run.chosen, run.result) for run in panel.runs] == [
        ("width 16, steps 3", {"width": 16, "steps": 3}, 16.0)
    ]
    assert panel.status.value.startswith("Trained 3 steps in ")
    assert "your runs: width 16, steps 3: (16, 0.5) in level 1." in panel.picture.value.lower()
    assert "<svg" in shown(panel)
    assert not panel.train_button.disabled
    assert panel.stop_button.disabled


def test_runs_are_overlaid_and_cleared() -> None:
    panel = trained(trained(panel_of()), width=8)
    assert [run.result for run in panel.runs] == [16.0, 8.0]
    assert all(f"width {width}, steps 3: ({width}, 0.5)" in panel.picture.value for width in (8, 16))
    panel.clear_button.click()
    assert (panel.runs, panel.picture.value, panel.clear_button.disabled) == ([], "", True)


def test_runs_differ_in_more_than_colour() -> None:
    runs = [TweakedRun(f"run {n}", {}, 8.0) for n in range(len(MARKERS))]
    figures: list[Figure] = []

    @picture
    def caught(levels: Sequence[float]) -> tuple[Figure, str]:
        figure, alt = published.__wrapped__(levels)  # type: ignore[attr-defined]
        figures.append(figure)
        return figure, alt

    over(caught, [0.0, 1.0], at=lambda x: [(1, [x, 2 * x], [0, 1])])(runs)
    _, *own = figures[0].axes[1].lines
    assert len({line.get_marker() for line in own}) == len(runs)
    assert [text.get_text() for text in figures[0].legends[-1].texts] == [run.label for run in runs]


def test_what_is_no_number_is_drawn_nowhere() -> None:
    draw = over(published, [0.0], at=lambda x: [(0, x, np.nan)])
    assert draw([TweakedRun("one", {}, 8.0)]).alt == "Two levels, as published. Your runs: one: nowhere."


def test_a_panel_that_is_not_there_is_named() -> None:
    draw = over(published, [0.0], at=lambda x: [("level 2", x, 0)])
    with pytest.raises(ValueError, match="no panel is called 'level 2'; there are 'level 0'"):
        draw([TweakedRun("one", {}, 8.0)])


def test_stop_stops_between_steps_and_keeps_what_is_drawn() -> None:
    panel = trained(panel_of())
    before = panel.picture.value
    panel.controls["steps"].value = 100_000
    panel.train_button.click()
    until(lambda: panel.bar.value > 0)
    assert (panel.bar.max, panel.bar.layout.visibility) == (100_000, "visible")
    assert panel.train_button.disabled
    assert not panel.stop_button.disabled
    panel.stop_button.click()
    panel.wait(LONG)
    assert panel.status.value.startswith("Stopped after ")
    assert panel.status.value.endswith(" of 100000 steps; nothing is drawn of it.")
    assert (len(panel.runs), panel.picture.value) == (1, before)
    assert not panel.train_button.disabled
    trained(panel, steps=4)  # and it can train again
    assert len(panel.runs) == 2


def test_train_is_heard_once() -> None:
    begun = list[int]()

    def count(progress: Progress, **_: object) -> float:
        begun.append(1)
        return train_slowly(progress, 8, 100_000)

    panel = panel_of(count)
    panel.start()
    panel.start()
    until(lambda: bool(begun))
    panel.stop()
    panel.wait(LONG)
    assert begun == [1]


def test_an_error_is_one_line_and_loses_nothing() -> None:
    def fail(progress: Progress, width: int, steps: int) -> float:
        if width == 8:
            raise ValueError("a width\nof 8 is too small")
        return train_slowly(progress, width, steps)

    panel = trained(panel_of(fail))
    before = panel.picture.value
    trained(panel, width=8)
    assert panel.status.value == "ValueError: a width of 8 is too small"
    assert (len(panel.runs), panel.picture.value) == (1, before)
    assert isinstance(panel.error, ValueError)
    assert panel.error.__traceback__ is not None
    assert len(trained(panel, width=16).runs) == 2


def test_what_cannot_be_drawn_is_told_and_not_kept() -> None:
    panel = trained(panel_of(draw=over(published, [0.0], at=lambda width: [("elsewhere", width, 0)])))
    assert panel.status.value.startswith("ValueError: no panel is called 'elsewhere'")
    assert panel.runs == []


def test_another_panel_stops_the_one_at_work() -> None:
    first = panel_of()
    first.controls["steps"].value = 100_000
    first.start()
    trained(panel_of())
    first.wait(LONG)
    assert first.status.value.startswith("Stopped after ")


def test_while_pages_are_built_the_smallest_run_is_rehearsed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTROPYLENS_PANELS", "rehearse")
    seen, drawn = list[tuple[int, int]](), list[str]()

    def note(progress: Progress, width: int, steps: int) -> float:
        torch.rand(1)
        seen.append((width, steps))
        return train_slowly(progress, width, steps)

    def draw(runs: Sequence[TweakedRun]) -> Picture:
        drawn.extend(run.label for run in runs)
        return DRAW(runs)

    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    assert tweak(PARAMETERS, note, draw) is None
    assert (seen, drawn) == ([(8, 1)], ["width 8, steps 1"])
    assert torch.equal(torch.rand(1), expected), "later cells of a chapter draw what they would have drawn"
    with pytest.raises(ZeroDivisionError):
        tweak(PARAMETERS, lambda *_, **__: 1 / 0, draw)


def test_parameters_are_checked_and_said() -> None:
    with pytest.raises(ValueError, match="width: 3 is none of"):
        Choice("width", (8, 16), 3)
    with pytest.raises(ValueError, match=r"steps: 0 is not in 1 … 5"):
        Number("steps", 1, 5, 0)
    rate, steps, seed = (usually(3e-3, 300)[name].control() for name in ("rate", "steps", "seed"))
    assert (rate.value, steps.value, seed.value) == (3e-3, 300, 0)
    assert isinstance(steps.value, int)
    assert isinstance(rate.value, float)


def test_a_training_thread_does_not_disturb_drawing() -> None:
    """Settings of matplotlib are those of all threads."""
    drawn: list[str] = []
    runs = [TweakedRun("one", {}, 8.0)]

    def draw() -> None:
        drawn.append(DRAW(runs).svg)

    threads = [threading.Thread(target=draw) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(LONG)
    assert len(set(drawn)) == 1
    assert len(drawn) == 4


# ---- how the chapters train ------------------------------------------------------------------------------------------


def population() -> PopulationSpec:
    grid = low_entropy.Grid(widths=(8,), seeds=3, steps=4, n_snapshots=2, regimes=low_entropy.TWO_REGIMES)
    return grid.populations()[0]


KINDS: list[tuple[object, Measure]] = [
    (population(), low_entropy.measure),
    (replace(looped_induction.quick()[0], steps=50), looped_induction.measure),
    (replace(wide("own", "two looks", 2, steps=10, batch_size=2, lengths=(8,)), rates=(1e-2,)), gated_loops.measure),
    (replace(known_source.arm(32, None, 2, "own", 4), snapshots=()), known_source.measure),
]


@pytest.mark.parametrize(("spec", "measure"), KINDS, ids=["population", "looped", "tuned", "text"])
def test_the_last_member_is_trained_and_measured(spec: object, measure: Measure) -> None:
    progress, threads = Progress(), torch.get_num_threads()
    rows = measured(spec, measure, progress)
    assert set(rows["seed"]) == {len(spec.members) - 1}  # type: ignore[attr-defined]
    assert progress.done == progress.total == getattr(spec, "training", spec).steps
    assert torch.get_num_threads() == threads


def test_it_trains_as_the_experiments_do() -> None:
    _, kept = train_one(population(), Progress())
    spec = alone(population())
    assert len(spec.members) == 1
    run = train(spec.config, spec.build_members(), steps=4, snapshots=spec.snapshots)
    assert torch.equal(kept["parameters"], run.parameters)


def test_stopping_goes_through_the_training() -> None:
    progress = Progress()
    progress.stop()
    with pytest.raises(Stopped):
        train_one(population(), progress)
    assert progress.done == 0


def test_a_divergence_is_an_error() -> None:
    spec = population()
    wild = [replace(m, optimizer=replace(m.optimizer, name="sgd", lr=1e30)) for m in spec.members]
    with (
        pytest.warns(UserWarning, match="diverged"),
        pytest.raises(ValueError, match=r"the loss is not finite from step \d+ on: try a lower learning rate"),
    ):
        train_one(replace(spec, members=tuple(wild)), Progress())
    assert train_one(spec, Progress())[1]["losses"].isfinite().all()
