"""Compiled where a network answers so many pictures that it pays: measured once for each network, and remembered.

torch.compile with the weights frozen into the code takes a C++ compiler and up to a minute, and then answers in a half
or a third of the time (bfloat16 on a processor that has it). Shapes: B pictures of S pixels a side, D features.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from tasks.parts.backbone import Backbone, embed
from tasks.parts.device import Device
from tasks.parts.errors import RootstockError
from tasks.parts.files import sha256_of
from tasks.parts.progress import say
from tasks.parts.remembered import cache, once

ROUNDS = 3
GAIN = 1.1  # how many times as fast the network's part has to be, the start included
APART = {torch.float32: 1e-3, torch.bfloat16: 5e-2}  # how far answers may be from the plain ones, relative to them
PLAIN, COMPILED, START = "plain", "compiled", "start"


class NotCompiledError(RootstockError):
    """The network cannot be compiled on this machine."""


def code() -> str:
    """A digest of how it is compiled: part of the key of every feature that is stored."""
    return sha256_of(Path(__file__))


def pays(backbone: Backbone, device: Device, batch: int, plain: int, quick: int, least: int) -> bool:
    """Whether a compiled network that lacks `quick` rows has them sooner than a plain one that lacks `plain`.

    Below `least` rows that the plain one lacks it is not tried; 0: never.
    """
    if not least:
        return False
    if not quick:
        return plain > 0
    if plain < least:
        return False
    facts, names = (device.facts(), backbone.preprocessing.crop, batch), (PLAIN, COMPILED, START)
    try:
        found = once("compiled", backbone.module, facts, names, lambda: measure(backbone, device, batch))
    except NotCompiledError as error:
        say(f"{error}; going on without")
        return False
    return bool(found) and plain * found[PLAIN] > GAIN * (found[START] + quick * found[COMPILED])


def measure(backbone: Backbone, device: Device, batch: int) -> dict[str, float]:
    """Seconds an image, plain and compiled, and those until a compiled network first answers.

    Raises NotCompiledError.
    """
    x_B3SS = _some(backbone, device, batch)
    plain = _least(lambda: _answer(backbone.module, x_B3SS, device)) / batch
    started = time.perf_counter()
    module = compiled(backbone, device, batch).module
    start = time.perf_counter() - started
    short = _least(lambda: _answer(module, x_B3SS, device)) / batch
    say(f"compiled, the network takes {short / plain:.0%} of its time here, after {start:.0f} s: measured once")
    return {PLAIN: plain, COMPILED: short, START: start}


def compiled(backbone: Backbone, device: Device, batch: int) -> Backbone:
    """The same, for batches of this size on this device. Raises NotCompiledError, also if it answers otherwise."""
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache("inductor")))  # torch's own has a known name in /tmp
    say("the network is compiled, which may take a minute")
    x_B3SS = _some(backbone, device, batch)
    expected_BD = _answer(backbone.module, x_B3SS, device)
    try:
        module = _compiled(device.place(backbone.module))
        found_BD = _answer(module, x_B3SS, device)
    except RootstockError:
        raise
    except Exception as error:  # what compilers raise is an open set
        raise _refused(_reason(error)) from None
    apart = ((found_BD - expected_BD).norm() / expected_BD.norm()).item()
    if not apart <= APART[device.dtype]:
        raise _refused(f"compiled, its answers would be {apart:.1e} apart")
    return replace(backbone, module=module)


@lru_cache(maxsize=1)
def _compiled(module: nn.Module) -> nn.Module:
    quick: nn.Module = torch.compile(module, options={"freezing": True})  # type: ignore[assignment]
    return quick


def _refused(reason: str) -> NotCompiledError:
    return NotCompiledError(f"the network cannot be compiled here: {reason} (features.compile: 0 does without)")


def _reason(error: Exception) -> str:
    """The line of a compiler's many that tells the error."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return next((line for line in lines if "error:" in line), next(iter(lines), type(error).__name__))


def _some(backbone: Backbone, device: Device, batch: int) -> Tensor:
    side, random = backbone.preprocessing.crop, torch.Generator().manual_seed(0)
    return device.place(torch.rand(batch, 3, side, side, generator=random))


def _answer(module: nn.Module, x_B3SS: Tensor, device: Device) -> Tensor:
    """Features, (B, D) on the CPU: what a GPU computes has then been waited for."""
    with device.autocast():
        return embed(device.place(module), x_B3SS).cpu()


def _least(work: Callable[[], object]) -> float:
    """The least seconds of some rounds, after one that warms up."""
    seconds = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
