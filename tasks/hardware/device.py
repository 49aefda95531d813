"""Where and how numbers are computed: decided once, by what the machine has."""

from __future__ import annotations

import os
import platform
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from tasks.core.errors import ParamsError

BFLOAT16_FLAGS = frozenset({"avx512_bf16", "amx_bf16", "bf16"})  # x86 AVX-512 and AMX; ARM

Placeable = TypeVar("Placeable", Tensor, nn.Module)


@dataclass(frozen=True)
class Device:
    """A device, and the type that convolutions and products are computed in."""

    device: torch.device
    dtype: torch.dtype

    def autocast(self) -> AbstractContextManager[None]:
        """Computes in `dtype` where that is not float32; weights stay float32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def place(self, what: Placeable) -> Placeable:
        """A network or a batch of pictures on the device, channels last."""
        if isinstance(what, Tensor) and what.dim() != 4:  # tokens of a transformer
            return what.to(self.device)
        return what.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    @property
    def is_cuda(self) -> bool:
        """Whether it is a GPU of NVIDIA's."""
        return self.device.type == "cuda"

    @property
    def fuses(self) -> bool:
        """Whether optimisers have one kernel for all that they do there."""
        return self.device.type in {"cpu", "cuda"}

    def stage(self, what: Tensor) -> Tensor:
        """A batch in memory that a GPU can fetch from while it computes."""
        return what.pin_memory() if self.is_cuda else what

    def facts(self) -> dict[str, str]:
        """What results depend on bit by bit: part of the key of every stored feature."""
        name = torch.cuda.get_device_name(self.device) if self.is_cuda else platform.machine()
        return {
            "device": self.device.type,
            "chip": name,
            "capability": torch.backends.cpu.get_cpu_capability(),
            "dtype": str(self.dtype).removeprefix("torch."),
            "torch": torch.__version__,
            "threads": str(torch.get_num_threads()),
        }


def choose(device: str, precision: str) -> Device:
    """The device for `auto`, `cpu`, `cuda` or `mps`, and the type for `auto`, `float32` or `bfloat16`.

    Of several processes (torchrun) each takes the GPU of its own number.
    """
    chosen = torch.device(_present() if device == "auto" else device)
    if chosen.type == "cuda" and "LOCAL_RANK" in os.environ:
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.backends.cudnn.allow_tf32 = False  # else a GPU's float32 has ten bits of mantissa in convolutions
    wanted = precision if precision != "auto" else ("bfloat16" if _fast_bfloat16(chosen.type) else "float32")
    return Device(chosen, getattr(torch, wanted))


def processes_for(wanted: int, device: str) -> int:
    """How many processes share a fit: as many as wanted; 0: as there are GPUs, and one without.

    Raises ParamsError for more than there are GPUs, where there are some to be used.
    """
    gpus = torch.cuda.device_count() if device in {"auto", "cuda"} else 0
    if gpus and wanted > gpus:
        raise ParamsError(f"finetune.processes: {wanted} processes for {gpus} GPUs; take as many as there are, or 0")
    return wanted or max(gpus, 1)


def _present() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _fast_bfloat16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    return device == "cpu" and bool(cpu_flags() & BFLOAT16_FLAGS) and _isa_limit_allows_bfloat16()


@cache
def cpu_flags() -> frozenset[str]:
    """The processor's feature flags, as Linux tells them; none elsewhere."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    flags = (line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features")))
    return frozenset(next(flags, []))


def _isa_limit_allows_bfloat16() -> bool:
    """OneDNN can be held to an older instruction set by ONEDNN_MAX_CPU_ISA."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    return limit in {"DEFAULT", "ALL"} or "BF16" in limit or "AMX" in limit
