"""Extracts features, always in the same batch shape, so that a feature depends only on its image and view.

Shapes: N rows, B images per batch, R side of the resized square, S side of the input, P view parameters, D features.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import PIL
import torch
import torch.nn.functional as F
import torchvision
from torch import Tensor

from tasks.core.digest import code_digest
from tasks.core.files import sha256_of
from tasks.core.progress import counted
from tasks.core.schema import Column
from tasks.hardware.device import Device
from tasks.images.loading import ImageSquares, prefetch
from tasks.images.transforms import CLEAN, VIEW_PARAMETERS, RenderStyle, inputs
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


def extract(
    root: Path, rows: pd.DataFrame, backbone: Backbone, device: Device, style: RenderStyle, batch: int
) -> Iterator[tuple[range, np.ndarray]]:
    """Yields the features of SHARD batches at a time, (N, D) float32, with the positions of their rows."""
    squares = ImageSquares(root, list(rows[Column.PATH]), backbone.preprocessing, memory=0)
    draw_NP = torch.tensor(rows[list(VIEW_PARAMETERS)].to_numpy(), dtype=torch.float32)
    module = device.place(backbone.module)
    starts = range(0, len(rows), batch)
    read = prefetch((start, device.stage(squares[range(start, min(start + batch, len(rows)))])) for start in starts)
    parts: list[Tensor] = []
    first = 0
    for start, square_N3RR in counted(read, len(starts), "batches embedded"):
        count = len(square_N3RR)
        padded = F.pad(square_N3RR, (0, 0, 0, 0, 0, 0, 0, batch - count)) if count < batch else square_N3RR
        square_B3RR = padded.to(device.device, non_blocking=True)
        draw_BP = torch.tensor([CLEAN]).repeat(batch, 1)
        draw_BP[:count] = draw_NP[start : start + count]
        x_B3SS = device.place(inputs(square_B3RR, draw_BP.to(device.device), backbone.preprocessing, style))
        with device.autocast():
            parts.append(embed(module, x_B3SS)[:count].cpu())
        if len(parts) == SHARD or start == starts[-1]:
            yield range(first, start + count), torch.cat(parts).numpy()
            parts, first = [], start + count
