"""Measurements, stored as they are made so that an interrupted benchmark resumes."""

from __future__ import annotations

import hashlib
import json
import os
import platform
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

from tests.project import ROOT

FOLDER = ROOT / ".state" / "bench"
PICTURES = ROOT / "data" / "pictures"


class NoAssetsError(Exception):
    """The images and weights that a benchmark needs are missing."""


def assets_folder() -> Path:
    """Returns the folder of real images and weights. Raises NoAssetsError if it is not set."""
    if not os.environ.get("ROOTSTOCK_ASSETS"):
        raise NoAssetsError(
            "it needs the folder that tests/benchmarks/README.md describes: ROOTSTOCK_ASSETS=folder make bench"
        )
    return Path(os.environ["ROOTSTOCK_ASSETS"])


class Results:
    """Stores measurements by key, one JSON line each; a change to the code or to params.yaml starts a new file."""

    def __init__(self, name: str) -> None:
        self._file = FOLDER / f"{name}-{code()}.jsonl"
        self._stored: dict[str, Any] = {}
        if self._file.exists():
            for line in self._file.read_text().splitlines():
                key, value = json.loads(line)
                self._stored[key] = value

    def measured(self, key: str, measure: Callable[[], Any]) -> Any:
        """Returns the measurement for this key, stored or taken now."""
        if key not in self._stored:
            self._stored[key] = measure()
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with self._file.open("a") as file:
                file.write(json.dumps([key, self._stored[key]]) + "\n")
            print(f"{key}: {self._stored[key]}", flush=True)
        return self._stored[key]


def machine() -> str:
    """Returns the processor, its number of cores and its bfloat16 instructions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    model = next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())
    cores = sum(line.startswith("processor") for line in lines)
    flags = next((line for line in lines if line.startswith("flags")), "")
    fast = [flag for flag in ("avx512_bf16", "amx_bf16") if flag in flags.split()]
    return f"{model}, {cores} cores{', ' if fast else ''}{', '.join(fast)}"


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """Returns the mean and the half-width of its 95% t interval."""
    array = np.asarray(values, dtype=float)
    half = t.ppf(0.975, len(array) - 1) * array.std(ddof=1) / len(array) ** 0.5 if len(array) > 1 else float("nan")
    return float(array.mean()), float(half)


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Formats the mean ± standard deviation."""
    array = np.asarray(values, dtype=float)
    return f"{array.mean():.{digits}f} ± {array.std(ddof=1) if len(array) > 1 else 0:.{digits}f}"


def middle(values: Sequence[float], digits: int = 1) -> str:
    """Formats the median (minimum to maximum)."""
    array = np.asarray(values, dtype=float)
    return f"{np.median(array):.{digits}f} ({array.min():.{digits}f} to {array.max():.{digits}f})"


def code() -> str:
    """Returns a digest of the stages, the flows, the parameters, and the benchmarks themselves."""
    folders = ("tasks", "flows", "tests/benchmarks")
    files = [ROOT / "params.yaml", *(file for folder in folders for file in sorted((ROOT / folder).rglob("*.py")))]
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:12]
