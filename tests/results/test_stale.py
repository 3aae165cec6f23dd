"""A real edit of a real file: who is called stale by the command that visitors use?"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

BIASED = {f"LE-{i}" for i in ("1a", "1b", "2", "3", "4a", "4b", "4c", "4d", "5", "n2", "n3", "q1", "q2", "q3")}
"""What is decided by the experiments of chapters 3 to 8."""
GATED = {"EER-8", "EER-9", "EER-10", "EER-f1", "EER-f2"}
"""What is decided by the experiments of chapters 12 and 13."""
TEXTS = {"LE-q4", "LE-n1", "EER-f3"}
"""What is decided by the experiments of chapter 14, looped language models among them."""
LOOPED = {f"EER-{i}" for i in (1, 2, 3, 4, 6, 7)} | GATED


EDITS = {
    "": set(),  # none: whoever edits code that made the published rows has to compute again, or attest
    "show/ledger.py": set(),
    "results/statistics.py": set(),
    "measures/memory.py": {"LE-2", "LE-5", "LE-q1"},
    "measures/regularised.py": {"LE-5", "LE-q1"},
    "models/routed.py": {"LE-3", "LE-n2", "LE-n1", "EER-f3"},
    "measures/events.py": {"LE-4b", "LE-4c", "LE-4d", "LE-n3", "LE-q2", "LE-q3"},
    "training/branches.py": {"LE-q2"},
    "models/loop_block.c": LOOPED | TEXTS,
    "training/regularizers.py": LOOPED | TEXTS,
    "tasks/ngram.py": TEXTS,
    "measures/settling.py": GATED,
    "measures/gating.py": set(),
    "measures/landscape.py": {"EER-3"},
    "measures/transitions.py": {"EER-2", "EER-3", "EER-4"} | GATED,
    "measures/contraction.py": {"EER-5", "EER-6", "EER-7", "EER-10", "EER-f1"},
    "training/optimizers.py": BIASED | LOOPED | TEXTS | {"EER-5"},
}
"""What is edited, and which claims are stale then."""

PROGRAM = """
import sys
from pathlib import Path
from entropylens.cli import main

for edited in sys.argv[1:]:
    path = Path("src/entropylens", edited)
    before = path.read_bytes() if edited else b""
    if edited:
        path.write_bytes(before + (b"\\n// edited\\n" if path.suffix == ".c" else b"\\n# edited\\n"))
    main(["claims", "--json"])
    if edited:
        path.write_bytes(before)
"""


def test_an_edit_makes_stale_what_can_reach_it(tmp_path: Path) -> None:
    """In a project whose own copy of the package is the one that runs."""
    shutil.copytree(ROOT / "src", tmp_path / "src", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("book", "results", "notebooks"):  # read, and never written
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copy(ROOT / "_config.yml", tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *EDITS],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path / "src")}, stdout=subprocess.PIPE, text=True,
        check=True,
    )  # fmt: skip
    decoder, text, found = json.JSONDecoder(), done.stdout, {}
    for edited in EDITS:
        claims, end = decoder.raw_decode(text)
        text = text[end:].lstrip()
        found[edited] = {claim["id"] for claim in claims if claim["stale"]}
    assert found == EDITS
