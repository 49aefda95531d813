"""Compiled where a network answers so many pictures that it pays: measured once for each network, and remembered.

For a processor AOTInductor compiles it ahead of time, with its weights frozen into the code, into a package in the
user's cache: that takes a C++ compiler and half a minute, and each later run loads it in a tenth of a second. For a GPU
it is torch.compile. Shapes: B pictures of S pixels a side, D features.
"""

from __future__ import annotations

import copy
import hashlib
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from tasks.core.digest import code_digest
from tasks.core.errors import RootstockError
from tasks.core.files import replacing
from tasks.core.progress import say
from tasks.hardware.compiler import reason
from tasks.hardware.device import Device, cpu_flags
from tasks.hardware.machine_cache import cache, measure_once
from tasks.models.backbone import Backbone, embed

ROUNDS = 3
GAIN = 1.1  # how many times as fast the network's part has to be, the start included
APART = {torch.float32: 1e-3, torch.bfloat16: 5e-2}  # how far answers may be from the plain ones, relative to them
PLAIN, COMPILED, START = "plain", "compiled", "start"
FOLDER = "compiled"  # in the user's cache: what was measured, and packages
OPTIONS = {"freezing": True, "aot_inductor.precompile_headers": False}  # 150 MB each, in /tmp
ROOM = 2**31  # bytes that packages may take there; those used longest ago are removed


class NotCompiledError(RootstockError):
    """The network cannot be compiled on this machine."""


def code() -> str:
    """Returns the digest of the code that compiles: part of the key of packages, measurements and compiled features."""
    return code_digest(__name__)


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
    facts, names = (device.facts(), backbone.preprocessing.crop, batch, code()), (PLAIN, COMPILED, START)
    try:
        found = measure_once(FOLDER, backbone.module, facts, names, lambda: measure(backbone, device, batch))
    except NotCompiledError as error:
        say(f"{error}; going on without")
        return False
    if not found:
        return False
    start = 0.0 if _package(backbone, device, batch).exists() else found[START]
    return plain * found[PLAIN] > GAIN * (start + quick * found[COMPILED])


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
    if device.device.type != "cpu":
        quick = _checked(lambda: _just_in_time(device.place(backbone.module)), backbone, device, batch)
        return replace(backbone, module=quick)
    file = _package(backbone, device, batch)
    module: nn.Module | None = _loaded(file, device)
    if module is None:
        with tempfile.TemporaryDirectory() as folder:
            made = Path(folder, "made.pt2")
            module = _checked(lambda: _packed(made, backbone, device, batch), backbone, device, batch)
            _keep(made, file)
    return replace(backbone, module=module)


def attempted(backbone: Backbone, device: Device, batch: int) -> Backbone | None:
    """The same, compiled; None, and why it is not, where that cannot be."""
    try:
        return compiled(backbone, device, batch)
    except NotCompiledError as error:
        say(f"{error}; going on without")
        return None


class Packaged(nn.Module):
    """A network that was compiled ahead of time: (B, 3, S, S) to (B, D), for batches of one size."""

    def __init__(self, file: Path, dtype: torch.dtype) -> None:
        from torch._inductor import aoti_load_package  # the others would wait for it

        super().__init__()
        self._run = aoti_load_package(str(file))
        self._dtype = dtype

    def forward(self, x_B3SS: Tensor) -> Tensor:
        """Features, (B, D), of pictures of the size that it was compiled for."""
        feature_BD: Tensor = self._run(x_B3SS.to(self._dtype))
        return feature_BD


def _package(backbone: Backbone, device: Device, batch: int) -> Path:
    """Where the package of this network, its weights, this machine and this size of batch is, or would be."""
    machine = (platform.node(), sorted(cpu_flags()), device.facts())  # it has this processor's own instructions
    network = (torchvision.__version__, str(backbone.module), backbone.preprocessing.crop, batch)
    digest = hashlib.sha256(repr((code(), machine, network)).encode())
    for name, tensor in backbone.module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().cpu().numpy().data)
    return cache(FOLDER) / f"{digest.hexdigest()[:32]}.pt2"


def _loaded(file: Path, device: Device) -> Packaged | None:
    """The network of this package, if there is one that is whole."""
    if not file.exists():
        return None
    try:
        with suppress(PermissionError):
            os.utime(file)  # used now
        return Packaged(file, device.dtype)
    except (RuntimeError, OSError):
        say(f"{file} is damaged")
        return None


def _packed(file: Path, backbone: Backbone, device: Device, batch: int) -> Packaged:
    """Compiles the network into this file, and loads it; what else the compiler writes is beside it."""
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.runtime.cache_dir_utils import temporary_cache_dir

    module = device.place(copy.deepcopy(backbone.module)).to(device.dtype)
    x_B3SS = _some(backbone, device, batch).to(device.dtype)
    with temporary_cache_dir(str(file.parent)), torch.no_grad():
        exported = torch.export.export(module, (x_B3SS,))
        aoti_compile_and_package(exported, package_path=str(file), inductor_configs=OPTIONS)
    return Packaged(file, device.dtype)


def _keep(made: Path, file: Path) -> None:
    """Keeps a package as `file`, and removes those that were used longest ago, until all are within ROOM."""
    try:
        with replacing(file) as beside:
            shutil.copyfile(made, beside)
        others = {other: other.stat() for other in file.parent.glob("*.pt2") if other != file}
        taken = file.stat().st_size + sum(found.st_size for found in others.values())
        for other in sorted(others, key=lambda other: others[other].st_mtime):
            if taken > ROOM:
                other.unlink(missing_ok=True)
                taken -= others[other].st_size
    except OSError as error:
        say(f"what was compiled is not kept ({error})")


def _checked(make: Callable[[], nn.Module], backbone: Backbone, device: Device, batch: int) -> nn.Module:
    """What `make` compiles, once it has answered as the plain network does. Raises NotCompiledError."""
    say("the network is compiled, which may take a minute")
    x_B3SS = _some(backbone, device, batch)
    expected_BD = _answer(backbone.module, x_B3SS, device)
    try:
        module = make()
        found_BD = _answer(module, x_B3SS, device)
    except RootstockError:
        raise
    except Exception as error:  # what compilers raise is an open set
        raise _refused(reason(error)) from None
    apart = ((found_BD - expected_BD).norm() / expected_BD.norm()).item()
    if not apart <= APART[device.dtype]:
        raise _refused(f"compiled, its answers would be {apart:.1e} apart")
    return module


@lru_cache(maxsize=1)
def _just_in_time(module: nn.Module) -> nn.Module:
    quick: nn.Module = torch.compile(module, options={"freezing": True})  # type: ignore[assignment]
    return quick


def _refused(reason: str) -> NotCompiledError:
    return NotCompiledError(f"the network cannot be compiled here: {reason} (features.compile: 0 does without)")


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
