"""Builds the pretrained backbone for extracting features."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tasks.models.backbone import Backbone, build
from tasks.models.weights_file import check_unchanged, read
from tasks.scorer.decode import DEFAULT, Decoding

if TYPE_CHECKING:
    from tasks.core.sections import BackboneParams


@dataclass(frozen=True)
class PretrainedFile:
    """Builds the backbone from a weights file, also in another process that shares the file system."""

    file: Path
    params: BackboneParams
    decoding: Decoding
    sha256: str

    def __call__(self) -> Backbone:
        """Returns the backbone for inference. Raises RootstockError if the file is no longer what it was."""
        check_unchanged(self.file, self.sha256)
        return frozen_backbone(self.file, self.params, self.decoding)


def frozen_backbone(pretrained: Path, params: BackboneParams, decoding: Decoding = DEFAULT) -> Backbone:
    """Builds the backbone from its weights file, for inference: BatchNorm folded, gradients disabled."""
    sizes = (params.resize, params.crop)
    backbone = build(params.architecture, *read(pretrained), *sizes, params.cut, params.letterbox, decoding).folded()
    backbone.module.requires_grad_(False)
    return backbone
