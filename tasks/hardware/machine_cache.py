"""What is measured of this machine once, and remembered in the user's cache, as it says nothing of the project."""

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
from tasks.core.progress import say


def measure_once(
    kind: str, module: nn.Module, facts: object, names: Sequence[str], measure: Callable[[], Mapping[str, float]]
) -> dict[str, float]:
    """What was measured of such a network under these facts, by name; empty where nothing can be remembered.

    It is empty then because a run that goes on must not choose anew. Of several that measure at once, the first one's
    word counts for all.
    """
    file = cache(kind) / f"{_digest(module, facts)}.json"
    if not (found := _recalled(file, names)):
        _remember(file, names, measure)
        found = _recalled(file, names)
    return found


def cache(kind: str) -> Path:
    """A folder of the user's cache."""
    return user_cache_path("rootstock") / kind


def _digest(module: nn.Module, facts: object) -> str:
    """Of the network, what learns of it, and this machine."""
    learning = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    machine = (platform.node(), platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.__version__)
    return hashlib.sha256(repr((machine, repr(module), learning, facts)).encode()).hexdigest()[:20]


def _recalled(file: Path, names: Sequence[str]) -> dict[str, float]:
    """What a file says; empty if there is none, or it is damaged or of an earlier version."""
    try:
        found = read_json(file)
        return {name: float(found[name]) for name in names}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _remember(file: Path, names: Sequence[str], measure: Callable[[], Mapping[str, float]]) -> None:
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    probe = beside.with_suffix(".probe")
    try:
        write_json(beside, {})
        probe.unlink(missing_ok=True)
        probe.hardlink_to(beside)  # before a minute of measuring
        write_json(beside, dict(measure()))
        if not _recalled(file, names):
            file.unlink(missing_ok=True)  # damaged, if it is there
        with suppress(FileExistsError):
            file.hardlink_to(beside)
    except OSError as error:
        say(f"{file.parent} cannot be written to ({error}): nothing is measured")
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)
            beside.unlink(missing_ok=True)
