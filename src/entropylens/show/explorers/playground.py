"""The playground: a transformer that is trained in the reader's browser, with every setting in reach."""

from __future__ import annotations

import json
from typing import Any, get_args

import anywidget
import traitlets

from entropylens.models.transformer import Norm, Variant
from entropylens.show.explorers import engine, source, style, text
from entropylens.show.explorers.models import DECADES

RATES = tuple(float(f"{digits}e{power}") for power in range(-4, 1) for digits in (1, 1.5, 2, 3, 5, 7))
CHOICES: dict[str, tuple[float | str, ...]] = {
    "concentration": (0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0, 2.0, 5.0, 10.0),
    "data": ("exact", "finite", "fresh"),
    "n": (20, 50, 100, 200, 500, 1000, 2000, 5000),
    "batch": (10, 20, 50, 100, 200, 500, 1000, 2000),
    "width": (4, 8, 16, 32, 64),
    "heads": (1, 2, 4),
    "layers": (1, 2, 3, 4),
    "variant": get_args(Variant),
    "norm": get_args(Norm),
    "optimizer": ("adam", "rmsprop", "sgd"),
    "rate": RATES,
    "beta2": (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999, 0.9995, 0.9999),
    "momentum": (0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98, 0.99),
    "axis": ("linear", "log"),
    "near": ("all", "target"),
}
"""Setting to what it may be; `n` sentences are a sample, `batch` are drawn each step, `axis` and `near` are views."""
SEEDS = ("target", "seed")
"""Settings too: what draws the target, and what draws data and first parameters."""
MOST_SEED = 999
FIRST: dict[str, Any] = {
    "concentration": 0.5, "target": 1, "data": "finite", "n": 200, "batch": 200,
    "width": 32, "heads": 2, "layers": 2, "variant": "full", "norm": "pre", "seed": 1,
    "optimizer": "adam", "rate": 0.01, "beta2": 0.999, "momentum": 0.9,
}  # fmt: skip
VIEW = {"axis": "linear", "near": "all"}
_SMALL = {**FIRST, "width": 16}
_EXACT = {**_SMALL, "data": "exact"}
PRESETS: dict[str, tuple[str, dict[str, Any]]] = {
    "See the bias": (
        "A wide model, and few sentences: its entropy falls through the target's, to that of its sample, and stays "
        "there; the circles in the scatter, sentences never seen, sink.",
        FIRST,
    ),
    "Make it vanish": (
        "The same model sees the whole target at each step: its entropy comes down to the target's from above. "
        "Training wobbles a little, but nothing is left that would pull it below.",
        {**FIRST, "data": "exact"},
    ),
    "Fresh sentences": (
        "As many sentences as that sample had, but drawn anew at each step: the entropy wavers, and does not settle "
        "below the target's. What took it down was seeing the same ones again.",
        {**FIRST, "data": "fresh"},
    ),
    "Kill neurons with Adam": (
        "A rate beyond what Adam bears here: the loss stays high and restless, and neurons die in waves; some revive. "
        "At 0.03 hardly any die: the rate does it, and not Adam as such.",
        {**_EXACT, "rate": 0.1},
    ),
    "SGD with momentum beside it": (
        "The same rate, which means something else to SGD: it is about the most that SGD with momentum bears here. "
        "The loss falls, with small spikes (zoom in), and hardly a neuron dies; with some seeds it diverges. Load Adam "
        "first, and both are drawn.",
        {**_EXACT, "optimizer": "sgd", "rate": 0.1},
    ),
    "Attention only": (
        "Without an FFN the entropy falls below the target's, too: it takes no FFN to be drawn to a sample. (On the "
        "targets of chapter 4 two layers of attention do not get there.)",
        {**_SMALL, "variant": "attention_only"},
    ),
    "FFN only": (
        "And no attention: a plain average over positions is enough here. Compare how closely the two come to the "
        "sample's entropy, and after how many steps; then try other seeds.",
        {**_SMALL, "variant": "ffn_only"},
    ),
}
"""Name to what to look for, and settings. What they say was seen with other seeds, too; tests look at these."""


class Playground(anywidget.AnyWidget):
    """Controls of target, data, model and optimiser; four curves over the steps, and all sentences, as it trains."""

    _esm = f"const WORKER = {json.dumps(engine() + text('playground_worker.js'))};\n" + source(
        "playground_pictures.js", "playground.js"
    )
    _css = style()
    name = traitlets.Unicode("playground").tag(sync=True)
    """In the page's address, which holds all settings."""
    choices: traitlets.List[list[Any]] = traitlets.List([[key, list(of)] for key, of in CHOICES.items()]).tag(sync=True)
    most_seed = traitlets.Int(MOST_SEED).tag(sync=True)
    presets: traitlets.List[list[Any]] = traitlets.List([[key, *preset] for key, preset in PRESETS.items()]).tag(
        sync=True
    )
    decades = traitlets.Float(DECADES).tag(sync=True)
    selected: traitlets.Dict[str, Any] = traitlets.Dict().tag(sync=True)
    """Setting to value; in JupyterLab Python may read it, and set it."""

    @traitlets.validate("selected")
    def _known_values(self, proposal: dict[str, Any]) -> dict[str, Any]:
        chosen = {**self.selected, **proposal["value"]}
        for key, value in chosen.items():
            if not _known(key, value):
                allowed = f"0 to {MOST_SEED}" if key in SEEDS else CHOICES.get(key, tuple(FIRST))
                raise traitlets.TraitError(f"no {key} = {value}; choose from {allowed}")
        return chosen

    def __repr__(self) -> str:
        """What is told where widgets cannot be shown."""
        return f"Playground (needs JavaScript): {', '.join(f'{key} {value}' for key, value in self.selected.items())}"


def _known(key: str, value: Any) -> bool:
    if key in SEEDS:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_SEED
    return not isinstance(value, bool) and value in CHOICES.get(key, ())


def playground(**chosen: Any) -> Playground:
    """The playground, as it starts: a wide model on a small sample.

    Args:
        chosen: settings, see `CHOICES` and `SEEDS`, that are not those of `FIRST` and `VIEW`.

    Raises:
        traitlets.TraitError: for a setting that is not known, or a value that it does not offer.
    """
    return Playground(selected={**FIRST, **VIEW, **chosen})
