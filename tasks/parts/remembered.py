"""What is measured of this machine once, and remembered in the user's cache, as it says nothing of the project."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import nn

from tasks.parts.files import read_json, write_json
from tasks.parts.progress import say


def once(kind: str, module: nn.Module, facts: object, measure: Callable[[], Mapping[str, float]]) -> dict[str, float]:
    """What was measured of such a network under these facts, now or earlier; empty where nothing can be remembered.

    It is empty then because a run that goes on must not choose anew. Of several that measure at once, the first one's
    word counts for all.
    """
    file = cache(kind) / f"{_digest(module, facts)}.json"
    if not (found := _recalled(file)):
        _remember(file, measure())
        found = _recalled(file)
    return found


def cache(kind: str) -> Path:
    """A folder of the user's cache."""
    return user_cache_path("rootstock") / kind


def _digest(module: nn.Module, facts: object) -> str:
    """Of the network, what learns of it, and this machine."""
    learning = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    machine = (platform.node(), platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.__version__)
    return hashlib.sha256(repr((machine, repr(module), learning, facts)).encode()).hexdigest()[:20]


def _recalled(file: Path) -> dict[str, float]:
    """What a file says; empty if there is none or it is damaged."""
    try:
        return {name: float(value) for name, value in read_json(file).items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _remember(file: Path, found: Mapping[str, float]) -> None:
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        write_json(beside, dict(found))
        if not _recalled(file):
            file.unlink(missing_ok=True)  # damaged, if it is there
        with suppress(FileExistsError):
            file.hardlink_to(beside)
        beside.unlink()
    except OSError as error:
        say(f"{file.parent} cannot be written to ({error}): what was measured of this machine is not used")
