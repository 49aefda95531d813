"""Builds the pretrained backbone for extracting features."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tasks.models.backbone import Backbone, build
from tasks.models.weights_file import read
from tasks.scorer.decode import DEFAULT, Decoding

if TYPE_CHECKING:
    from tasks.core.sections import BackboneParams


def frozen_backbone(pretrained: Path, params: BackboneParams, decoding: Decoding = DEFAULT) -> Backbone:
    """Builds the backbone from its weights file, for inference: BatchNorm folded, gradients disabled."""
    sizes = (params.resize, params.crop)
    backbone = build(params.architecture, *read(pretrained), *sizes, params.cut, params.letterbox, decoding).folded()
    backbone.module.requires_grad_(False)
    return backbone
