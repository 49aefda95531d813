"""Float32 or bfloat16 on this processor: measured once for each network and size of picture, and remembered.

That a processor has instructions for bfloat16 does not make every network quicker by them: where convolutions are
depthwise, learning can take twice as long. What was measured lies in the user's cache, as it says something of the
machine and not of the project. Shapes: N pictures of S pixels a side.
"""

from __future__ import annotations

import copy
import time
from dataclasses import replace

import torch
from torch import Tensor, nn

from tasks.core.progress import say
from tasks.hardware.device import Device, choose
from tasks.hardware.machine_cache import measure_once

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
    found = measure_once("precision", module, side, ("float32", "bfloat16"), lambda: _told(measure(module, side)))
    return torch.bfloat16 if not found or found["float32"] > GAIN * found["bfloat16"] else torch.float32


def _told(seconds: tuple[float, float]) -> dict[str, float]:
    plain, short = seconds
    say(f"bfloat16 takes {short / plain:.0%} of float32's time here: measured once")
    return {"float32": plain, "bfloat16": short}


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
