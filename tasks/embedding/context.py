"""Tells what a feature depends on, except the image file and the view."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import PIL
import torchvision

from tasks.core.digest import code_digest
from tasks.core.files import sha256_of
from tasks.embedding.extraction import one_thread_facts
from tasks.hardware.device import Device
from tasks.images.transforms import RenderStyle
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
