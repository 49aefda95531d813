"""Extracts the features of images, and tells what they depend on. Shapes: N rows, P view parameters, D features."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL
import torch
import torchvision
from torch import Tensor

from tasks.core.digest import code_digest
from tasks.core.files import sha256_of
from tasks.core.progress import counted
from tasks.embedding.extraction import EMBEDDED, Extraction, ViewBatch, one_thread_facts, way_here
from tasks.hardware.device import Device
from tasks.images.transforms import CLEAN, RenderStyle
from tasks.models.backbone import Backbone

if TYPE_CHECKING:
    from tasks.core.sections import BackboneParams  # parameter descriptions must not change the key

CODE = (  # computes and stores features
    *(__name__, "tasks.models.weights_file", "tasks.embedding.pretrained", "tasks.embedding.feature_store"),
)


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
        **one_thread_facts(device),
    }


View = tuple[str, np.ndarray, np.ndarray]  # a file, the view's parameters (P,) and its key (2,)


def view_batches(views: Iterable[View], batch: int) -> Iterator[ViewBatch]:
    """Yields views in full batches but for the last."""
    remaining = iter(views)
    while part := list(islice(remaining, batch)):
        files, draws, keys = zip(*part, strict=True)
        yield ViewBatch(files, torch.from_numpy(np.stack(draws)), np.stack(keys))


def extract(
    root: Path, files: Sequence[str], backbone: Backbone, device: Device, style: RenderStyle, batch: int
) -> Tensor:
    """Returns the features of clean images, (N, D) float32."""
    clean_P, no_key = np.array(CLEAN), np.zeros(2, np.uint64)
    views = view_batches(((file, clean_P, no_key) for file in files), batch)
    here, extraction = way_here(backbone, device, batch), Extraction(backbone, device, style, batch, root)
    count = ceil(len(files) / batch)
    return torch.cat([part.x_ND for part in counted(here(extraction, ([view] for view in views)), count, EMBEDDED)])
