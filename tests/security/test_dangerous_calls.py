"""The linter, as it is set up here, lets nothing into src/ that would run what is in a file or a text."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

PLANTED = {
    "import pickle\npickle.loads(b'')": "S301",
    "import pandas as pd\npd.read_pickle('x')": "S301",
    "import marshal\nmarshal.loads(b'')": "S302",
    "eval('x')": "S307",
    "exec('x')": "S102",
    "import yaml\nyaml.load('x', yaml.Loader)": "S506",
    "import torch\ntorch.load('x')": "TID251",
    "from numpy import load": "TID251",
    "import subprocess\nsubprocess.run(f'ls {x}', shell=True)": "S602",
    "import os\nos.system(x)": "S605",
    "import tempfile\ntempfile.mktemp()": "S306",
}


def test_each_is_found_wherever_it_stands_in_the_package(tmp_path: Path) -> None:
    """In a package of the same shape, under the same settings."""
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text(encoding="utf-8"), encoding="utf-8")
    folder = tmp_path / "src" / "entropylens" / "results"
    folder.mkdir(parents=True)
    for number, code in enumerate(PLANTED):
        (folder / f"planted_{number}.py").write_text(code + "\n")
    command = [sys.executable, "-m", "ruff", "check", "--output-format", "json", "--no-cache", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    found = {(Path(each["filename"]).stem, each["code"]) for each in json.loads(done.stdout)}
    assert {(f"planted_{number}", code) for number, code in enumerate(PLANTED.values())} <= found
