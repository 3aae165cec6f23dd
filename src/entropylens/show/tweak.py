"""A panel with which a reader trains with parameters of their own, and sees the result in a published figure.

It needs a kernel. A training runs in a thread of its own, since a button is not heard while a cell, or the callback of
another button, keeps the kernel at work; and in a thread, not in tasks of the kernel's loop, since trainings are
plain loops that call back after each step, and a callback can raise `Stopped`, but cannot hand over to a loop. What the
thread changes in a widget is sent by ipykernel's own output thread, which takes from any.

In the built pages nobody could press a button: with ENTROPYLENS_PANELS=rehearse in the environment, as `entropylens
run` sets it, a panel trains the smallest run it offers, draws it, and leaves nothing behind. So a panel that is broken
fails the build.
"""

from __future__ import annotations

import base64
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any, ClassVar

import ipywidgets as widgets
import torch

from entropylens.show.figures import Picture

EVERY = 0.2
"""Seconds between two movements of a progress bar."""
WIDE: Any = {"description_width": "11em"}


class Stopped(Exception):
    """The reader wants no more of this training."""


# ---- parameters ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Choice:
    """One of a few values.

    Attributes:
        label: in a word or two.
        values: the cheapest to train first, which a rehearsal takes.
        start: what is chosen at first; None is the first.

    Raises:
        ValueError: without values, or if the start is none of them.
    """

    label: str
    values: Sequence[Any]
    start: Any = None

    def __post_init__(self) -> None:
        if not self.values or (self.start is not None and self.start not in self.values):
            raise ValueError(f"{self.label}: {self.start!r} is none of {list(self.values)}")

    @property
    def least(self) -> Any:
        """What a rehearsal takes."""
        return self.values[0]

    def control(self) -> Any:
        """A widget with a `value`."""
        start = self.least if self.start is None else self.start
        options = [(said(value), value) for value in self.values]
        return widgets.Dropdown(description=self.label, options=options, value=start, style=WIDE)


@dataclass(frozen=True)
class Number:
    """A number in a range, to be typed or stepped to: whole if all that is said of it is.

    Attributes:
        label: in a word or two.
        least: the smallest.
        most: the largest.
        start: what is chosen at first.
        step: of its arrows.

    Raises:
        ValueError: if the start is out of range.
    """

    label: str
    least: float
    most: float
    start: float
    step: float = 1

    def __post_init__(self) -> None:
        if not self.least <= self.start <= self.most:
            raise ValueError(f"{self.label}: {self.start:g} is not in {self.least:g} … {self.most:g}")

    def control(self) -> Any:
        """A widget with a `value`."""
        whole = all(isinstance(x, int) for x in (self.least, self.most, self.start, self.step))
        kind = widgets.BoundedIntText if whole else widgets.BoundedFloatText
        return kind(description=self.label, min=self.least, max=self.most, value=self.start, step=self.step, style=WIDE)


Parameter = Choice | Number


def usually(rate: float, steps: int, least: int = 10, most: int = 3000) -> dict[str, Parameter]:
    """What every training has: `rate`, `steps` (from `least` to `most`), and `seed`."""
    return {
        "rate": Number("learning rate", 1e-5, 1.0, rate, rate / 10),
        "steps": Number("steps", least, most, steps, least),
        "seed": Number("seed", 0, 99, 0),
    }


def said(value: object) -> str:
    """A parameter's value in a label."""
    return f"{value:g}" if isinstance(value, float) else str(value)


# ---- a run -----------------------------------------------------------------------------------------------------------


class Progress:
    """What a training calls with the steps that it has just done; here it is told to stop.

    Attributes:
        total: the steps that there will be; a training sets it before the first.
        done: those that are done.
    """

    def __init__(self, told: Callable[[Progress], None] = lambda _: None) -> None:
        self.total, self.done = 0, 0
        self._told, self._last, self._stop = told, 0.0, threading.Event()

    def __call__(self, steps: int = 1) -> None:
        """Count; raises Stopped if that is the reader's wish."""
        if self._stop.is_set():
            raise Stopped
        self.done += steps
        if time.monotonic() - self._last >= EVERY or self.done == self.total:
            self._last = time.monotonic()
            self._told(self)

    def stop(self) -> None:
        """Let the next call raise."""
        self._stop.set()


@dataclass(frozen=True)
class TweakedRun:
    """What the reader has trained.

    Attributes:
        label: its parameters in words.
        chosen: its parameters.
        result: what the training returned.
    """

    label: str
    chosen: Mapping[str, Any]
    result: Any


Train = Callable[..., Any]
"""Of a `Progress`, and of each parameter by its name."""
Draw = Callable[[Sequence[TweakedRun]], Picture]


def run_of(parameters: Mapping[str, Parameter], chosen: Mapping[str, Any], train: Train, told: Progress) -> TweakedRun:
    """Train with these values."""
    label = ", ".join(f"{parameters[name].label} {said(value)}" for name, value in chosen.items())
    return TweakedRun(label, chosen, train(told, **chosen))


# ---- the panel -------------------------------------------------------------------------------------------------------


class Panel:
    """Controls, a progress bar, and a picture of the runs so far.

    Args:
        parameters: by the name under which `train` takes them.
        train: trains, calling its `Progress` after each step.
        draw: the runs so far.

    Attributes:
        runs: those that came to an end and were drawn.
        controls: a widget a parameter.
        view: what is displayed.
        error: what a training raised last, with its traceback.
    """

    _at_work: ClassVar[Panel | None] = None
    """One training a kernel: a second would make both slow; and a cell that is run again takes its old panel away."""

    def __init__(self, parameters: Mapping[str, Parameter], train: Train, draw: Draw) -> None:
        self._parameters, self._train, self._draw = parameters, train, draw
        self.runs: list[TweakedRun] = []
        self.error: Exception | None = None
        self.controls = {name: parameter.control() for name, parameter in parameters.items()}
        self._progress = Progress()
        self._thread: threading.Thread | None = None
        self._build()
        if Panel._at_work:
            Panel._at_work.stop()

    def _build(self) -> None:
        self.train_button = widgets.Button(description="Train", icon="play", button_style="primary")
        self.stop_button = widgets.Button(description="Stop", icon="stop", disabled=True)
        self.clear_button = widgets.Button(description="Clear", icon="trash", disabled=True)
        for button, pressed in (
            (self.train_button, self.start), (self.stop_button, self.stop), (self.clear_button, self.clear),
        ):  # fmt: skip
            button.on_click(lambda _, pressed=pressed: pressed())
        hidden = widgets.Layout(visibility="hidden", width="20em")
        self.bar = widgets.IntProgress(layout=hidden)
        self.status = widgets.Label("Your runs will be drawn over those of the figure.")
        self.picture = widgets.HTML()
        buttons = widgets.HBox([self.train_button, self.stop_button, self.clear_button, self.bar])
        self.view = widgets.VBox([*self.controls.values(), buttons, self.status, self.picture])
        self.view.add_class("entropylens-tweak")

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.view._repr_mimebundle_(**kwargs)

    def start(self) -> None:
        """Train with what is chosen, in the background; another panel's training is stopped."""
        if self.train_button.disabled:  # it is at work
            return
        if Panel._at_work and Panel._at_work is not self:
            Panel._at_work.stop()
        Panel._at_work = self
        chosen = {name: control.value for name, control in self.controls.items()}
        self._progress = Progress(self._tell)
        self._busy(True)
        self._thread = threading.Thread(target=self._work, args=(chosen, self._progress), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the training after its step; runs that are drawn stay."""
        self._progress.stop()

    def clear(self) -> None:
        """Forget all runs."""
        self.runs, self.picture.value = [], ""
        self.clear_button.disabled = True

    def wait(self, seconds: float | None = None) -> None:
        """Until the training has ended."""
        if self._thread:
            self._thread.join(seconds)

    def _work(self, chosen: Mapping[str, Any], progress: Progress) -> None:
        started = time.monotonic()
        try:
            self.status.value = "Training …"
            run = run_of(self._parameters, chosen, self._train, progress)
            self.picture.value = _html(self._draw([*self.runs, run]))
        except Stopped:
            self.status.value = f"Stopped after {_steps(progress)}; nothing is drawn of it."
        except Exception as error:  # whatever it is, the reader is told, and what was drawn before stays
            self.error = error
            self.status.value = f"{type(error).__name__}: {' '.join(str(error).split())}"
        else:
            self.runs.append(run)
            self.status.value = f"Trained {progress.done} steps in {time.monotonic() - started:.1f} s: {run.label}"
        finally:
            self._busy(False)

    def _busy(self, busy: bool) -> None:
        self.train_button.disabled, self.stop_button.disabled = busy, not busy
        self.clear_button.disabled = busy or not self.runs
        self.bar.layout.visibility = "visible" if busy else "hidden"
        self.bar.value = 0

    def _tell(self, progress: Progress) -> None:
        self.bar.max, self.bar.value = max(1, progress.total), progress.done
        ended = progress.total and progress.done >= progress.total
        self.status.value = "Measuring …" if ended else f"Training: {_steps(progress)}"


def _steps(progress: Progress) -> str:
    return f"{progress.done} of {progress.total or '?'} steps"


def _html(drawn: Picture) -> str:
    """As an image: two inline SVGs on one page would share their ids."""
    data = base64.b64encode(drawn.svg.encode()).decode()
    return f'<img style="max-width: 100%" src="data:image/svg+xml;base64,{data}" alt="{escape(drawn.alt)}">'


def tweak(parameters: Mapping[str, Parameter], train: Train, draw: Draw) -> Panel | None:
    """A `Panel`; while pages are built, a rehearsal of it, and nothing to show.

    Args:
        parameters: by the name under which `train` takes them.
        train: trains, calling its `Progress` after each step, and measures.
        draw: the runs so far; see `tweaks_figures.over`.

    Raises:
        Exception: in a rehearsal, whatever training and drawing raise.
    """
    if os.environ.get("ENTROPYLENS_PANELS") != "rehearse":
        return Panel(parameters, train, draw)
    least = {name: parameter.least for name, parameter in parameters.items()}
    with torch.random.fork_rng(devices=[]):  # later cells of the chapter draw what they would have drawn
        draw([run_of(parameters, least, train, Progress())])
    return None
