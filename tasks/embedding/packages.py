"""Networks compiled ahead of time by AOTInductor, kept in the cache. Shapes: B images per batch, S side, D features."""

from __future__ import annotations

import copy
import hashlib
import os
import platform
import shutil
from contextlib import suppress
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from tasks.core.digest import code_digest
from tasks.core.files import replacing
from tasks.core.progress import say, warn
from tasks.hardware.device import Device, cpu_flags
from tasks.hardware.machine_cache import cache
from tasks.models.backbone import Backbone

FOLDER = "compiled"  # in the user's cache: measurements and packages
OPTIONS = {"freezing": True, "aot_inductor.precompile_headers": False}  # precompiled headers take 150 MB each in /tmp
ROOM = 2**31  # bytes of packages; the least recently used packages are removed


class Packaged(nn.Module):
    """A network compiled ahead of time, (B, 3, S, S) to (B, D), for one batch size."""

    def __init__(self, file: Path, dtype: torch.dtype) -> None:
        from torch._inductor import aoti_load_package  # slow to import

        super().__init__()
        self._run = aoti_load_package(str(file), num_runners=os.cpu_count() or 1)  # threads that may call it at a time
        self._dtype = dtype

    def forward(self, x_B3SS: Tensor) -> Tensor:
        """Returns features, (B, D), for inputs (B, 3, S, S) of the compiled shape."""
        feature_BD: Tensor = self._run(x_B3SS.to(self._dtype))
        return feature_BD


def package_file(backbone: Backbone, device: Device, batch: int) -> Path:
    """Returns the package's path, named by a digest of the network, its weights, this machine and the batch size."""
    machine = (platform.node(), sorted(cpu_flags()), device.facts())  # packages use this processor's instructions
    network = (torchvision.__version__, str(backbone.module), backbone.preprocessing.crop, batch)
    digest = hashlib.sha256(repr((code_digest(__name__), machine, network)).encode())
    for name, tensor in backbone.module.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().cpu().numpy().data)
    return cache(FOLDER) / f"{digest.hexdigest()[:32]}.pt2"


def load(file: Path, device: Device) -> Packaged | None:
    """Loads a package. Returns None if it is missing or damaged."""
    if not file.exists():
        return None
    try:
        with suppress(PermissionError):
            os.utime(file)  # marks it as recently used
        return Packaged(file, device.dtype)
    except (RuntimeError, OSError):
        warn(f"{file} is damaged")
        return None


def build(file: Path, backbone: Backbone, device: Device, batch: int) -> Packaged:
    """Compiles the network into `file` and loads it; the compiler's other files go to the same folder."""
    from torch._inductor import aoti_compile_and_package
    from torch._inductor.runtime.cache_dir_utils import temporary_cache_dir

    module = device.place(copy.deepcopy(backbone.module)).to(device.dtype)
    x_B3SS = random_batch(backbone, device, batch).to(device.dtype)
    with temporary_cache_dir(str(file.parent)), torch.no_grad():
        exported = torch.export.export(module, (x_B3SS,))
        aoti_compile_and_package(exported, package_path=str(file), inductor_configs=OPTIONS)
    return Packaged(file, device.dtype)


def keep(built: Path, file: Path) -> None:
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


def random_batch(backbone: Backbone, device: Device, batch: int) -> Tensor:
    """Returns the same random inputs, (B, 3, S, S), at each call."""
    side, random = backbone.preprocessing.crop, torch.Generator().manual_seed(0)
    return device.place(torch.rand(batch, 3, side, side, generator=random))
