"""Float32 or bfloat16 on this processor: measured once for each network and size of picture, and remembered.

That a processor has instructions for bfloat16 does not make every network quicker by them: where convolutions are
depthwise, learning can take twice as long. What was measured lies in the user's cache, as it says something of the
machine and not of the project. Shapes: N pictures of S pixels a side.
"""

from __future__ import annotations

import copy
import hashlib
import os
import platform
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import torch
from platformdirs import user_cache_path
from torch import Tensor, nn

from tasks.parts.device import Device, choose
from tasks.parts.files import read_json, write_json
from tasks.parts.progress import say

PICTURES, ROUNDS = 8, 4
GAIN = 1.1  # how many times as fast bfloat16 has to be: float32 is the more exact one
TYPES = (torch.float32, torch.bfloat16)


def device_for(device: str, precision: str, module: nn.Module, side: int) -> Device:
    """The device, and the type: `auto` is bfloat16 on a processor that has it if this network is quicker in it."""
    chosen = choose(device, precision)
    if precision != "auto" or chosen.device.type != "cpu" or chosen.dtype == torch.float32:
        return chosen
    return replace(chosen, dtype=quicker(module, side))


def quicker(module: nn.Module, side: int) -> torch.dtype:
    """The type in which the processor answers pictures of this size sooner; if parameters learn, with their gradients.

    `module` is left as it is. Where nothing can be remembered it is bfloat16: a run that goes on must not choose anew.
    """
    file = _memory(module, side)
    if (found := _recalled(file)) is None:
        _remember(file, measure(module, side))
        found = _recalled(file)
    return torch.bfloat16 if found is None or found[0] > GAIN * found[1] else torch.float32


def measure(module: nn.Module, side: int) -> tuple[float, float]:
    """Seconds of a batch in float32 and in bfloat16: the least of some rounds.

    Seconds are a core's own, of one thread, so that other work on the machine changes them little.
    """
    own = copy.deepcopy(module).eval().to(memory_format=torch.channels_last)
    random = torch.Generator().manual_seed(0)  # of its own: what is trained must not depend on what was measured
    x_N3SS = torch.rand(PICTURES, 3, side, side, generator=random).to(memory_format=torch.channels_last)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        rounds = [[_seconds(own, x_N3SS, dtype) for dtype in TYPES] for _ in range(ROUNDS)]
    finally:
        torch.set_num_threads(threads)
    plain, short = (min(found) for found in zip(*rounds, strict=True))
    return plain, short


def _seconds(module: nn.Module, x_N3SS: Tensor, dtype: torch.dtype) -> float:
    learns = any(parameter.requires_grad for parameter in module.parameters())
    started = time.thread_time()
    with torch.set_grad_enabled(learns), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        feature_ND = module(x_N3SS)
    if learns:
        feature_ND.float().square().mean().backward()
    return time.thread_time() - started


def _memory(module: nn.Module, side: int) -> Path:
    """The file of what was measured for such a network, with what learns of it, on this machine."""
    learning = [name for name, parameter in module.named_parameters() if parameter.requires_grad]
    machine = (platform.node(), platform.machine(), torch.backends.cpu.get_cpu_capability(), torch.__version__)
    key = repr((machine, repr(module), learning, side))
    return user_cache_path("rootstock") / "precision" / f"{hashlib.sha256(key.encode()).hexdigest()[:20]}.json"


def _recalled(file: Path) -> tuple[float, float] | None:
    """The seconds in float32 and bfloat16 that were measured; None if that is not known."""
    try:
        found = read_json(file)
        return float(found["float32"]), float(found["bfloat16"])
    except (OSError, ValueError, KeyError):
        return None


def _remember(file: Path, seconds: tuple[float, float]) -> None:
    """Writes a new file: of several that measure at once, the first one's word counts for all."""
    plain, short = seconds
    say(f"bfloat16 takes {short / plain:.0%} of float32's time here: measured once")
    beside = file.with_name(f"{file.name}.{os.getpid()}")
    try:
        write_json(beside, {"float32": plain, "bfloat16": short})
        if _recalled(file) is None:
            file.unlink(missing_ok=True)  # damaged, if it is there
        with suppress(FileExistsError):
            file.hardlink_to(beside)
        beside.unlink()
    except OSError as error:
        say(f"{file.parent} cannot be written to ({error}): bfloat16 is taken")
