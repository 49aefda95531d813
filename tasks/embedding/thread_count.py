"""Counts the batches that may be embedded at a time, each by one thread."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from tasks.hardware.available_memory import available_bytes
from tasks.hardware.device import Device
from tasks.models.backbone import embed


def threads_with_room(module: nn.Module, side: int, device: Device, batch: int) -> int:
    """Returns how many threads may embed batches at a time: on a CPU, as many as half of the free memory has room for.

    `module` takes images (N, 3, side, side) and is not compiled. Otherwise one, as a device computes one batch after
    another.
    """
    if device.device.type != "cpu":
        return 1
    needed = batch * activation_bytes(module, side)
    return max(1, min(torch.get_num_threads(), available_bytes() // 2 // needed))


def activation_bytes(module: nn.Module, side: int) -> int:
    """Returns roughly the memory that one image needs, from its views to its features: twice the largest layer's.

    Rendering takes some six copies of the input.
    """
    largest = 0

    def note(_layer: nn.Module, taken: tuple[object, ...], made: object) -> None:
        nonlocal largest
        tensors = [value for value in (*taken, made) if isinstance(value, Tensor)]
        largest = max(largest, sum(tensor.numel() for tensor in tensors))

    handles = [layer.register_forward_hook(note) for layer in module.modules() if not [*layer.children()]]
    try:
        embed(module, torch.zeros(1, 3, side, side))
    finally:
        for handle in handles:
            handle.remove()
    return 4 * max(2 * largest, 6 * 3 * side**2)
