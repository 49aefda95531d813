"""Embeds views in batches, each by one thread and in the same shape: a feature depends only on its image and view.

Shapes: N rows, B images per batch, R side of the resized square, S side of the input, P view parameters, D features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.hardware.device import Device
from tasks.hardware.threads import one_thread
from tasks.images.loading import SquareReader, prefetch
from tasks.images.transforms import CLEAN, RenderStyle, inputs
from tasks.models.backbone import Backbone, embed

View = tuple[str, np.ndarray, np.ndarray]  # a file, the view's parameters (P,) and its key (2,)


class ViewBatch(NamedTuple):
    """Views to embed, at most as many as a batch has: their files, parameters (N, P) float64, and keys (N, 2)."""

    files: Sequence[str]
    draw_NP: Tensor
    key_N2: np.ndarray


class Features(NamedTuple):
    """Features (N, D) float32, and the keys of their views (N, 2)."""

    x_ND: Tensor
    key_N2: np.ndarray


def view_batches(views: Iterable[View], batch: int) -> Iterator[ViewBatch]:
    """Yields views in full batches but for the last."""
    remaining = iter(views)
    while part := list(islice(remaining, batch)):
        files, draws, keys = zip(*part, strict=True)
        yield ViewBatch(files, torch.from_numpy(np.stack(draws)), np.stack(keys))


def one_thread_facts(device: Device) -> dict[str, str]:
    """Returns the facts that determine a batch's bits when one thread computes it."""
    with one_thread():
        return device.facts()


class Extraction:
    """Embeds views of the images below `root`. Several threads may call it at a time."""

    def __init__(self, backbone: Backbone, device: Device, style: RenderStyle, batch: int, root: Path) -> None:
        self.device, self.style, self.batch, self.root = device, style, batch, root
        self._preprocessing, self._module = backbone.preprocessing, device.place(backbone.module)
        self._on_cpu = device.device.type == "cpu"
        self._squares = SquareReader(root, backbone.preprocessing, threads=not self._on_cpu)

    def __call__(self, shard: Sequence[ViewBatch]) -> Features:
        """Returns the features of some batches of views, computed by one thread."""
        read = ((view, self.device.stage(self._squares(view.files))) for view in shard)
        with one_thread():
            parts = [self._features(*batch) for batch in (read if self._on_cpu else prefetch(read))]
        return Features(torch.cat(parts), np.concatenate([view.key_N2 for view in shard]))

    def _features(self, view: ViewBatch, square_N3RR: Tensor) -> Tensor:
        rows, batch = len(square_N3RR), self.batch
        padded = F.pad(square_N3RR, (0, 0, 0, 0, 0, 0, 0, batch - rows)) if rows < batch else square_N3RR
        square_B3RR = padded.to(self.device.device, non_blocking=True)
        draw_BP = torch.tensor([CLEAN]).repeat(batch, 1)
        draw_BP[:rows] = view.draw_NP
        draw_BP = draw_BP.to(self.device.device)
        x_B3SS = self.device.place(inputs(square_B3RR, draw_BP, self._preprocessing, self.style))
        with self.device.autocast():
            return embed(self._module, x_B3SS)[:rows].cpu()
