"""Extracts features, always in the same batch shape, so that a feature depends only on its image and view.

Shapes: N rows, B images per batch, R side of the resized square, S side of the input, P view parameters, D features.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import PIL
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from tasks.core.digest import code_digest
from tasks.core.files import sha256_of
from tasks.core.progress import counted
from tasks.hardware.device import Device
from tasks.images.loading import SquareReader, prefetch
from tasks.images.transforms import CLEAN, RenderStyle, inputs
from tasks.models.backbone import Backbone, embed

if TYPE_CHECKING:
    from tasks.core.sections import BackboneParams  # parameter descriptions must not change the key

CODE = (  # computes and stores features
    *(__name__, "tasks.models.weights_file", "tasks.embedding.pretrained", "tasks.embedding.feature_store"),
)
SHARD = 32  # batches yielded together


def context(
    pretrained: Path, params: BackboneParams, backbone: Backbone, device: Device, style: RenderStyle, batch: int
) -> dict[str, object]:
    """Returns everything that a feature depends on, except the image file and the view."""
    preprocessing = asdict(backbone.preprocessing)
    del preprocessing["decoding"]["max_pixels"]  # decides which images are read, not how
    return {
        "architecture": backbone.architecture,
        "cut": params.cut,
        "weights": sha256_of(pretrained),
        "preprocessing": preprocessing,
        **asdict(style),
        "batch": batch,
        "torchvision": torchvision.__version__,
        "pillow": PIL.__version__,
        "code": code_digest(*CODE),
        **device.facts(),
    }


class ViewBatch(NamedTuple):
    """Views to embed, at most as many as a batch has: their files, parameters (N, P) float64, and keys (N, 2)."""

    files: Sequence[str]
    draw_NP: Tensor
    key_N2: np.ndarray


View = tuple[str, np.ndarray, np.ndarray]  # a file, the view's parameters (P,) and its key (2,)


def view_batches(views: Iterable[View], batch: int) -> Iterator[ViewBatch]:
    """Yields views in full batches but for the last."""
    remaining = iter(views)
    while part := list(islice(remaining, batch)):
        files, draws, keys = zip(*part, strict=True)
        yield ViewBatch(files, torch.from_numpy(np.stack(draws)), np.stack(keys))


class Features(NamedTuple):
    """Features (N, D) float32, and the keys of their views (N, 2)."""

    x_ND: Tensor
    key_N2: np.ndarray


def extract(
    root: Path, files: Sequence[str], backbone: Backbone, device: Device, style: RenderStyle, batch: int
) -> Tensor:
    """Returns the features of clean images, (N, D) float32."""
    clean_P, no_key = np.array(CLEAN), np.zeros(2, np.uint64)
    views = view_batches(((file, clean_P, no_key) for file in files), batch)
    parts = embed_views(root, views, ceil(len(files) / batch), backbone, device, style, batch)
    return torch.cat([part.x_ND for part in parts])


def embed_views(
    root: Path,
    views: Iterable[ViewBatch],
    count: int,
    backbone: Backbone,
    device: Device,
    style: RenderStyle,
    batch: int,
) -> Iterator[Features]:
    """Yields the features of views, SHARD batches at a time; `count` is the number of batches, for progress."""
    squares = SquareReader(root, backbone.preprocessing)
    module = device.place(backbone.module)
    read = prefetch((view, device.stage(squares(view.files))) for view in views)
    parts: list[Features] = []
    for view, square_N3RR in counted(read, count, "batches embedded"):
        rows = len(square_N3RR)
        padded = F.pad(square_N3RR, (0, 0, 0, 0, 0, 0, 0, batch - rows)) if rows < batch else square_N3RR
        square_B3RR = padded.to(device.device, non_blocking=True)
        draw_BP = torch.tensor([CLEAN]).repeat(batch, 1)
        draw_BP[:rows] = view.draw_NP
        x_B3SS = device.place(inputs(square_B3RR, draw_BP.to(device.device), backbone.preprocessing, style))
        with device.autocast():
            parts.append(Features(embed(module, x_B3SS)[:rows].cpu(), view.key_N2))
        if len(parts) == SHARD:
            yield _joined(parts)
            parts = []
    if parts:
        yield _joined(parts)


def _joined(parts: Sequence[Features]) -> Features:
    return Features(torch.cat([part.x_ND for part in parts]), np.concatenate([part.key_N2 for part in parts]))
