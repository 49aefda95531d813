"""Chooses the device and the dtype for computing networks."""

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
    """A device, and the dtype of convolutions and matrix products."""

    device: torch.device
    dtype: torch.dtype

    def autocast(self) -> AbstractContextManager[None]:
        """Returns an autocast context for `dtype`, disabled for float32; weights stay float32."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def place(self, value: Placeable) -> Placeable:
        """Moves a network or a tensor to the device, in channels-last format if its shape is (N, C, H, W)."""
        if isinstance(value, Tensor) and value.dim() != 4:  # transformer tokens
            return value.to(self.device)
        return value.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]

    @property
    def is_cuda(self) -> bool:
        """Returns whether the device is an NVIDIA GPU."""
        return self.device.type == "cuda"

    @property
    def fuses(self) -> bool:
        """Returns whether the device supports fused optimizers."""
        return self.device.type in {"cpu", "cuda"}

    def stage(self, batch: Tensor) -> Tensor:
        """Returns the batch, of any shape (N, ...), in pinned memory if a GPU will copy it asynchronously."""
        return batch.pin_memory() if self.is_cuda else batch

    def facts(self) -> dict[str, str]:
        """Returns the properties on which bitwise results depend; part of the key of every stored feature."""
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
    """Returns the device for `auto`, `cpu`, `cuda` or `mps`, with the dtype for `auto`, `float32` or `bfloat16`.

    With several processes, each uses the GPU of its LOCAL_RANK.
    """
    chosen = torch.device(_present() if device == "auto" else device)
    if chosen.type == "cuda" and "LOCAL_RANK" in os.environ:
        chosen = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
    torch.backends.cudnn.allow_tf32 = False  # TF32 would reduce float32 convolutions to ten mantissa bits
    dtype = precision if precision != "auto" else ("bfloat16" if _fast_bfloat16(chosen.type) else "float32")
    return Device(chosen, getattr(torch, dtype))


def processes_for(requested: int, device: str) -> int:
    """Returns the number of processes of a fit: `requested`, or if 0 the number of GPUs, at least one.

    Raises ParamsError if there are GPUs, but fewer than requested.
    """
    gpus = torch.cuda.device_count() if device in {"auto", "cuda"} else 0
    if gpus and requested > gpus:
        raise ParamsError(
            f"finetune.processes: {requested} processes, but only {gpus} GPUs; lower it to {gpus}, or set it to 0",
            key="finetune.processes",
        )
    return requested or max(gpus, 1)


def _present() -> str:
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _fast_bfloat16(device: str) -> bool:
    if device == "cuda":
        return torch.cuda.get_device_capability() >= (8, 0)
    return device == "cpu" and bool(cpu_flags() & BFLOAT16_FLAGS) and _isa_limit_allows_bfloat16()


def processor_facts() -> dict[str, str]:
    """Returns what, besides a device's facts, decides which kernels oneDNN and MKL choose on a CPU."""
    limits = {name: os.environ[name] for name in ("ONEDNN_MAX_CPU_ISA", "MKL_CBWR") if name in os.environ}
    return {"processor": _cpuinfo("model name") or platform.processor(), **limits}


@cache
def cpu_flags() -> frozenset[str]:
    """Returns the processor's feature flags from /proc/cpuinfo; empty on systems other than Linux."""
    return frozenset((_cpuinfo("flags") or _cpuinfo("Features")).split())


def _cpuinfo(name: str) -> str:
    """Returns the first value of this name in /proc/cpuinfo; an empty text without it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _isa_limit_allows_bfloat16() -> bool:
    """Returns whether ONEDNN_MAX_CPU_ISA, which can limit oneDNN to an older instruction set, allows bfloat16."""
    limit = os.environ.get("ONEDNN_MAX_CPU_ISA", "DEFAULT").upper()
    return limit in {"DEFAULT", "ALL"} or "BF16" in limit or "AMX" in limit
