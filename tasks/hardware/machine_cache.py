"""Takes measurements of this machine once and caches them in the user's cache folder, outside of the project."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import nn

from tasks.core.files import read_json, write_json
from tasks.core.progress import warn


def measure_once(
    kind: str, module: nn.Module, facts: object, names: Sequence[str], measure: Callable[[], Mapping[str, float]]
) -> dict[str, float]:
    """Returns the measurements `names` of the network under `facts`, from the cache or else from `measure()`.

    Returns an empty dict if the cache is not writable, so that a resumed run cannot decide differently. If several
    processes measure at once, the first result wins.
    """
    file = cache(kind) / f"{_digest(module, facts)}.json"
    if not (cached := _load(file, names)):
        _measure_and_save(file, names, measure)
        cached = _load(file, names)
    return cached


def cache(kind: str) -> Path:
    """Returns the user's cache folder for this kind of file."""
    return user_cache_path("rootstock") / kind


def _digest(module: nn.Module, facts: object) -> str:
    """Returns a digest of the network's structure, its trainable parameters, `facts` and this machine."""
    trainable = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    machine = (platform.node(), platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.__version__)
    return hashlib.sha256(repr((machine, repr(module), trainable, facts)).encode()).hexdigest()[:20]


def _load(file: Path, names: Sequence[str]) -> dict[str, float]:
    """Returns the measurements in a file; empty if it is missing, damaged or from an earlier version."""
    try:
        values = read_json(file)
        return {name: float(values[name]) for name in names}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _measure_and_save(file: Path, names: Sequence[str], measure: Callable[[], Mapping[str, float]]) -> None:
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    probe = beside.with_suffix(".probe")
    try:
        write_json(beside, {})
        probe.unlink(missing_ok=True)
        probe.hardlink_to(beside)  # fails before a minute of measuring, not after it
        write_json(beside, dict(measure()))
        if not _load(file, names):
            file.unlink(missing_ok=True)  # if it exists, it is damaged
        with suppress(FileExistsError):
            file.hardlink_to(beside)
    except OSError as error:
        warn(f"{file.parent} cannot be written to ({error}): measurements are skipped")
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
            beside.unlink(missing_ok=True)
