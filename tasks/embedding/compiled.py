"""Compiles a network for inference if that pays off for the number of images, by timings taken once per network.

On a CPU, AOTInductor compiles the network ahead of time, with its weights frozen into the code, into a package in the
user's cache: this needs a C++ compiler and half a minute; later runs load the package in a tenth of a second. On a GPU,
torch.compile is used. Shapes: B images per batch, S side of the input, D features.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from tasks.core.digest import code_digest
from tasks.core.errors import RootstockError
from tasks.core.progress import say
from tasks.embedding import packages
from tasks.hardware.compiler import reason
from tasks.hardware.device import Device
from tasks.hardware.machine_cache import cache, measure_once
from tasks.hardware.threads import one_thread
from tasks.models.backbone import Backbone, embed

ROUNDS = 3
MIN_SPEEDUP = 1.1  # of the network's share of the work, including startup
MAX_DIFFERENCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}  # relative difference between compiled and plain features
PLAIN, COMPILED, START = "plain", "compiled", "start"


class NotCompiledError(RootstockError):
    """The network cannot be compiled on this machine."""


def code() -> str:
    """Returns the digest of the compilation code, part of the key of packages, measurements and compiled features."""
    return code_digest(__name__)


def pays(backbone: Backbone, device: Device, batch: int, plain: int, quick: int, least: int, threads: int = 1) -> bool:
    """Returns whether embedding `quick` rows compiled, including startup, is faster than embedding `plain` rows as is.

    Both are numbers of rows missing from the respective store. `least`: the minimum of `plain` for which compiling is
    considered; 0: never. `threads` embed at a time.
    """
    if not least:
        return False
    if not quick:
        return plain > 0
    if plain < least:
        return False
    facts, names = (device.facts(), backbone.preprocessing.crop, batch, code()), (PLAIN, COMPILED, START)
    try:
        seconds = measure_once(packages.FOLDER, backbone.module, facts, names, lambda: measure(backbone, device, batch))
    except NotCompiledError as error:
        say(f"{error}; continuing without")
        return False
    if not seconds:
        return False
    start = 0.0 if packages.package_file(backbone, device, batch).exists() else seconds[START]
    return plain * seconds[PLAIN] > MIN_SPEEDUP * (threads * start + quick * seconds[COMPILED])


def measure(backbone: Backbone, device: Device, batch: int) -> dict[str, float]:
    """Returns the seconds per image, plain and compiled, and the compile time in seconds.

    Raises NotCompiledError if the network cannot be compiled.
    """
    x_B3SS = packages.random_batch(backbone, device, batch)
    plain = _min_seconds(lambda: _embed(backbone.module, x_B3SS, device)) / batch
    started = time.perf_counter()
    module = compiled(backbone, device, batch).module
    start = time.perf_counter() - started
    quick = _min_seconds(lambda: _embed(module, x_B3SS, device)) / batch
    say(
        f"compiled, the network takes {quick / plain:.0%} of its time, after {start:.0f} s of compiling (measured once)"
    )
    return {PLAIN: plain, COMPILED: quick, START: start}


def compiled(backbone: Backbone, device: Device, batch: int) -> Backbone:
    """Returns the backbone compiled for this batch size and device.

    Raises NotCompiledError if it cannot be compiled or its features differ too much.
    """
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(cache("inductor")))  # torch's default is predictable, in /tmp
    if device.device.type != "cpu":
        quick = _check(lambda: _just_in_time(device.place(backbone.module)), backbone, device, batch)
        return replace(backbone, module=quick)
    file = packages.package_file(backbone, device, batch)
    module: nn.Module | None = packages.load(file, device)
    if module is None:
        with tempfile.TemporaryDirectory() as folder:
            built = Path(folder, "built.pt2")
            module = _check(lambda: packages.build(built, backbone, device, batch), backbone, device, batch)
            packages.keep(built, file)
    return replace(backbone, module=module)


@dataclass(frozen=True)
class CompiledFile:
    """Builds a backbone and compiles it as `compiled` does, also in another process."""

    load: Callable[[], Backbone]
    device: Device
    batch: int

    def __call__(self) -> Backbone:
        """Returns the compiled backbone. Raises NotCompiledError if it cannot be compiled there."""
        with one_thread():
            return compiled(self.load(), self.device, self.batch)


def attempted(backbone: Backbone, device: Device, batch: int) -> Backbone | None:
    """Returns the compiled backbone. If it cannot be compiled, logs the reason and returns None."""
    try:
        return compiled(backbone, device, batch)
    except NotCompiledError as error:
        say(f"{error}; continuing without")
        return None


def _check(build: Callable[[], nn.Module], backbone: Backbone, device: Device, batch: int) -> nn.Module:
    """Returns the network that `build` compiles. Raises NotCompiledError if this fails or features differ too much."""
    say("compiling the network, which may take a minute")
    x_B3SS = packages.random_batch(backbone, device, batch)
    expected_BD = _embed(backbone.module, x_B3SS, device)
    try:
        module = build()
        feature_BD = _embed(module, x_B3SS, device)
    except RootstockError:
        raise
    except Exception as error:  # compilers raise all kinds of exceptions
        raise _not_compiled(reason(error)) from None
    difference = ((feature_BD - expected_BD).norm() / expected_BD.norm()).item()
    if not difference <= MAX_DIFFERENCE[device.dtype]:
        raise _not_compiled(f"its features would differ by {difference:.1e}")
    return module


@lru_cache(maxsize=1)
def _just_in_time(module: nn.Module) -> nn.Module:
    quick: nn.Module = torch.compile(module, options={"freezing": True})  # type: ignore[assignment]
    return quick


def _not_compiled(reason: str) -> NotCompiledError:
    return NotCompiledError(
        f"the network cannot be compiled here: {reason} (set features.compile to 0 to avoid trying)",
        key="features.compile",
    )


def _embed(module: nn.Module, x_B3SS: Tensor, device: Device) -> Tensor:
    """Returns features, (B, D), on the CPU, so that a GPU has finished its work."""
    with device.autocast():
        return embed(device.place(module), x_B3SS).cpu()


def _min_seconds(work: Callable[[], object]) -> float:
    """Returns the minimum duration of several calls, after a warm-up call."""
    seconds = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds[1:])
