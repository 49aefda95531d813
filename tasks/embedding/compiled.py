"""Compiles a network for inference if that pays off for the number of images, by timings taken once per network.

On a CPU, AOTInductor compiles the network ahead of time, with its weights frozen into the code, into a package in the
user's cache: this needs a C++ compiler and half a minute; later runs load the package in a tenth of a second. On a GPU,
torch.compile is used. Shapes: B images per batch, S side of the input, D features.
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
MIN_SPEEDUP = 1.1  # of the network's share of the work, including startup
MAX_DIFFERENCE = {torch.float32: 1e-3, torch.bfloat16: 5e-2}  # relative difference between compiled and plain features
PLAIN, COMPILED, START = "plain", "compiled", "start"
FOLDER = "compiled"  # in the user's cache: measurements and packages
OPTIONS = {"freezing": True, "aot_inductor.precompile_headers": False}  # precompiled headers take 150 MB each in /tmp
ROOM = 2**31  # bytes of packages; the least recently used packages are removed


class NotCompiledError(RootstockError):
    """The network cannot be compiled on this machine."""


def code() -> str:
    """Returns the digest of the compilation code, part of the key of packages, measurements and compiled features."""
    return code_digest(__name__)


def pays(backbone: Backbone, device: Device, batch: int, plain: int, quick: int, least: int) -> bool:
    """Returns whether embedding `quick` rows compiled, including startup, is faster than embedding `plain` rows as is.

    Both are numbers of rows missing from the respective store. `least`: the minimum of `plain` for which compiling is
    considered; 0: never.
    """
    if not least:
        return False
    if not quick:
        return plain > 0
    if plain < least:
        return False
    facts, names = (device.facts(), backbone.preprocessing.crop, batch, code()), (PLAIN, COMPILED, START)
    try:
        seconds = measure_once(FOLDER, backbone.module, facts, names, lambda: measure(backbone, device, batch))
    except NotCompiledError as error:
        say(f"{error}; continuing without")
        return False
    if not seconds:
        return False
    start = 0.0 if _package(backbone, device, batch).exists() else seconds[START]
    return plain * seconds[PLAIN] > MIN_SPEEDUP * (start + quick * seconds[COMPILED])


def measure(backbone: Backbone, device: Device, batch: int) -> dict[str, float]:
    """Returns the seconds per image, plain and compiled, and the compile time in seconds.

    Raises NotCompiledError if the network cannot be compiled.
    """
    x_B3SS = _random_batch(backbone, device, batch)
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
    file = _package(backbone, device, batch)
    module: nn.Module | None = _load(file, device)
    if module is None:
        with tempfile.TemporaryDirectory() as folder:
            built = Path(folder, "built.pt2")
            module = _check(lambda: _build_package(built, backbone, device, batch), backbone, device, batch)
            _keep(built, file)
    return replace(backbone, module=module)


def attempted(backbone: Backbone, device: Device, batch: int) -> Backbone | None:
    """Returns the compiled backbone. If it cannot be compiled, logs the reason and returns None."""
    try:
        return compiled(backbone, device, batch)
    except NotCompiledError as error:
        say(f"{error}; continuing without")
        return None


class Packaged(nn.Module):
    """A network compiled ahead of time, (B, 3, S, S) to (B, D), for one batch size."""

    def __init__(self, file: Path, dtype: torch.dtype) -> None:
        from torch._inductor import aoti_load_package  # slow to import

        super().__init__()
        self._run = aoti_load_package(str(file))
        self._dtype = dtype

    def forward(self, x_B3SS: Tensor) -> Tensor:
        """Returns features, (B, D), for inputs (B, 3, S, S) of the compiled shape."""
        feature_BD: Tensor = self._run(x_B3SS.to(self._dtype))
        return feature_BD


def _package(backbone: Backbone, device: Device, batch: int) -> Path:
    """Returns the package's path, named by a digest of the network, its weights, this machine and the batch size."""
    machine = (platform.node(), sorted(cpu_flags()), device.facts())  # packages use this processor's instructions
    network = (torchvision.__version__, str(backbone.module), backbone.preprocessing.crop, batch)
    digest = hashlib.sha256(repr((code(), machine, network)).encode())
    for name, tensor in backbone.module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().cpu().numpy().data)
    return cache(FOLDER) / f"{digest.hexdigest()[:32]}.pt2"


def _load(file: Path, device: Device) -> Packaged | None:
    """Loads a package. Returns None if it is missing or damaged."""
    if not file.exists():
        return None
    try:
        with suppress(PermissionError):
            os.utime(file)  # marks it as recently used
        return Packaged(file, device.dtype)
    except (RuntimeError, OSError):
        say(f"{file} is damaged")
        return None


def _build_package(file: Path, backbone: Backbone, device: Device, batch: int) -> Packaged:
    """Compiles the network into `file` and loads it; the compiler's other files go to the same folder."""
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.runtime.cache_dir_utils import temporary_cache_dir

    module = device.place(copy.deepcopy(backbone.module)).to(device.dtype)
    x_B3SS = _random_batch(backbone, device, batch).to(device.dtype)
    with temporary_cache_dir(str(file.parent)), torch.no_grad():
        exported = torch.export.export(module, (x_B3SS,))
        aoti_compile_and_package(exported, package_path=str(file), inductor_configs=OPTIONS)
    return Packaged(file, device.dtype)


def _keep(built: Path, file: Path) -> None:
    """Copies a package to `file` and removes the least recently used packages until all fit into ROOM."""
    try:
        with replacing(file) as beside:
            shutil.copyfile(built, beside)
        others = {other: other.stat() for other in file.parent.glob("*.pt2") if other != file}
        total = file.stat().st_size + sum(stat.st_size for stat in others.values())
        for other in sorted(others, key=lambda other: others[other].st_mtime):
            if total > ROOM:
                other.unlink(missing_ok=True)
                total -= others[other].st_size
    except OSError as error:
        say(f"the compiled network is not kept ({error})")


def _check(build: Callable[[], nn.Module], backbone: Backbone, device: Device, batch: int) -> nn.Module:
    """Returns the network that `build` compiles. Raises NotCompiledError if this fails or features differ too much."""
    say("compiling the network, which may take a minute")
    x_B3SS = _random_batch(backbone, device, batch)
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


def _random_batch(backbone: Backbone, device: Device, batch: int) -> Tensor:
    side, random = backbone.preprocessing.crop, torch.Generator().manual_seed(0)
    return device.place(torch.rand(batch, 3, side, side, generator=random))


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
