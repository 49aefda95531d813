"""Chooses float32 or bfloat16 on a CPU by timing both, once for each network and image size.

bfloat16 instructions do not speed up every network: with depthwise convolutions, training can take twice as long.
Measurements are kept in the user's cache, since they describe the machine, not the project. Shapes: N images, S side.
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
from tasks.hardware.threads import one_thread

IMAGES, ROUNDS = 8, 4
MIN_SPEEDUP = 1.1  # of bfloat16 over float32, which is more accurate
TYPES = (torch.float32, torch.bfloat16)


def device_for(device: str, precision: str, module: nn.Module, side: int) -> Device:
    """Returns the device with its dtype; on a CPU with bfloat16, `auto` selects the network's faster dtype.

    `side` is the side of the network's input in pixels.
    """
    chosen = choose(device, precision)
    if precision != "auto" or chosen.device.type != "cpu" or chosen.dtype == torch.float32:
        return chosen
    return replace(chosen, dtype=faster_type(module, side))


def faster_type(module: nn.Module, side: int) -> torch.dtype:
    """Returns the faster dtype on this CPU, timing the forward pass and, for trainable networks, the backward pass.

    `module` is not changed. Returns bfloat16 if the cache is not writable, so that a resumed run decides the same.
    """
    seconds = measure_once("precision", module, side, ("float32", "bfloat16"), lambda: _measure_and_say(module, side))
    takes_bfloat16 = not seconds or seconds["float32"] > MIN_SPEEDUP * seconds["bfloat16"]
    return torch.bfloat16 if takes_bfloat16 else torch.float32


def _measure_and_say(module: nn.Module, side: int) -> dict[str, float]:
    float32, bfloat16 = measure(module, side)
    say(f"bfloat16 takes {bfloat16 / float32:.0%} of float32's time on this machine (measured once)")
    return {"float32": float32, "bfloat16": bfloat16}


def measure(module: nn.Module, side: int) -> tuple[float, float]:
    """Returns the seconds per batch in float32 and in bfloat16, the minimum of several rounds.

    The measure is the CPU time of one thread, which other work on the machine hardly affects.
    """
    network = copy.deepcopy(module).eval().to(memory_format=torch.channels_last)
    random = torch.Generator().manual_seed(0)  # leaves the global generator, on which training depends, untouched
    x_N3SS = torch.rand(IMAGES, 3, side, side, generator=random).to(memory_format=torch.channels_last)
    with one_thread():
        rounds = [[_seconds(network, x_N3SS, dtype) for dtype in TYPES] for _ in range(ROUNDS)]
    float32, bfloat16 = (min(seconds) for seconds in zip(*rounds, strict=True))
    return float32, bfloat16


def _seconds(module: nn.Module, x_N3SS: Tensor, dtype: torch.dtype) -> float:
    trains = any(parameter.requires_grad for parameter in module.parameters())
    started = time.thread_time()
    with torch.set_grad_enabled(trains), torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        feature_ND = module(x_N3SS)
    if trains:
        feature_ND.float().square().mean().backward()
    return time.thread_time() - started
