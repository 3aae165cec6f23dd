"""C sources beside the Python that calls them: compiled on first use, about a second, into the user's cache.

The compiled file's name hashes source, flags, compiler and CPU. ENTROPYLENS_KERNEL=0 in the environment does without.
"""

from __future__ import annotations

import ctypes
import hashlib
import os
import shutil
import subprocess
import tempfile
import warnings
from functools import cache
from pathlib import Path

import torch

from entropylens.models.trie_kernel import FLAGS, REALS, _cpu


@cache
def compiled(source: Path, dtype: torch.dtype, *more_flags: str) -> ctypes.CDLL | None:
    """The library of a C source for a number type, or None where no C compiler works, or it is switched off."""
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if dtype not in REALS or not compiler or os.environ.get("ENTROPYLENS_KERNEL") == "0":
        return None
    # -ffinite-math-only is not among the flags: -inf and NaN have to mean what they are.
    flags = [*FLAGS, *more_flags, *REALS[dtype]]
    key = hashlib.sha256("\0".join([source.read_text(), *flags, compiler, _cpu()]).encode()).hexdigest()[:20]
    try:
        folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "entropylens"
        target = folder / f"{source.stem}-{key}.so"
        if not target.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                built = Path(temporary) / "kernel.so"
                subprocess.run([compiler, *flags, str(source), "-o", built, "-lm"], check=True, capture_output=True)
                built.replace(target)
        return ctypes.CDLL(str(target))
    except (OSError, RuntimeError, subprocess.CalledProcessError) as error:
        told = str(error)
        if isinstance(error, subprocess.CalledProcessError):
            told = error.stderr.decode(errors="replace").strip()
        warnings.warn(f"{source.name} is not used, and all is several times slower: {told}", stacklevel=2)
        return None
