"""Compiled where a network answers so many pictures that it pays: measured once for each network, and remembered.

torch.compile with the weights frozen into the code takes a C++ compiler and up to a minute, and then answers in a half
or a third of the time (bfloat16 on a processor that has it). Shapes: B pictures of S pixels a side.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import torch
from torch import Tensor, nn

from tasks.parts.backbone import Backbone, embed
from tasks.parts.device import Device
from tasks.parts.errors import RootstockError
from tasks.parts.progress import say
from tasks.parts.remembered import cache, once

ROUNDS = 3
GAIN = 1.1  # how many times as fast all has to be, the start included


def pays(backbone: Backbone, device: Device, batch: int, rows: int, least: int) -> bool:
    """Whether so many rows are embedded sooner by a compiled network. Below `least` rows it is not tried; 0: never."""
    if not least or rows < least:
        return False
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    facts = (device.facts(), backbone.preprocessing.crop, batch, compiler)
    found = once("compiled", backbone.module, facts, lambda: measure(backbone, device, batch))
    return bool(found) and rows * found["plain"] > GAIN * (found["start"] + rows * found["compiled"])


def measure(backbone: Backbone, device: Device, batch: int) -> dict[str, float]:
    """Seconds an image, plain and compiled, and those until a compiled network first answers; or that it cannot be."""
    x_B3SS = _some(backbone, device, batch)
    plain = _least(lambda: _answer(device.place(backbone.module), x_B3SS, device)) / batch
    started = time.perf_counter()
    try:
        quick = compiled(backbone, device, batch)
    except RootstockError as error:
        say(f"{error}; going on without")
        return {"plain": plain, "compiled": plain, "start": 0.0}
    start = time.perf_counter() - started
    short = _least(lambda: _answer(quick.module, x_B3SS, device)) / batch
    say(f"compiled, the network takes {short / plain:.0%} of its time here, after {start:.0f} s: measured once")
    return {"plain": plain, "compiled": short, "start": start}


def compiled(backbone: Backbone, device: Device, batch: int) -> Backbone:
    """The same, for batches of this size on this device. Raises RootstockError where it cannot be compiled."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache("inductor")))  # torch's own is open to all in /tmp
    say("the network is compiled, which may take a minute")
    try:
        module = _compiled(device.place(backbone.module))
        _answer(module, _some(backbone, device, batch), device)
    except Exception as error:  # what compilers raise is an open set
        reason = str(error).strip().partition("\n")[0]
        raise RootstockError(
            f"the network cannot be compiled here: {reason}; features.compile: 0 does without"
        ) from None
    return replace(backbone, module=module)


@lru_cache(maxsize=1)
def _compiled(module: nn.Module) -> nn.Module:
    quick: nn.Module = torch.compile(module, options={"freezing": True})  # type: ignore[assignment]
    return quick


def _some(backbone: Backbone, device: Device, batch: int) -> Tensor:
    side, random = backbone.preprocessing.crop, torch.Generator().manual_seed(0)
    return device.place(torch.rand(batch, 3, side, side, generator=random))


def _answer(module: nn.Module, x_B3SS: Tensor, device: Device) -> Tensor:
    """Features, on the CPU: what a GPU computes has then been waited for."""
    with device.autocast():
        return embed(module, x_B3SS).cpu()


def _least(work: Callable[[], object]) -> float:
    """The least seconds of some rounds, after one that warms up."""
    seconds = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
