"""Compares options by probes on the features of the same images. Shapes: N images, D features, S side of the input."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from tasks.core.progress import say
from tasks.core.schema import Column
from tasks.core.sections import BackboneParams, ComputeParams
from tasks.core.target import TargetSpec
from tasks.embedding.spreading import extract
from tasks.hardware.device import choose
from tasks.hardware.threads import one_thread
from tasks.images.transforms import RenderStyle
from tasks.models.backbone import Backbone, build
from tasks.models.weights_file import read
from tasks.scorer.decode import Decoding
from tasks.selection.options import Option
from tasks.selection.probe import problem_of, score_parts
from tasks.selection.rule import SHORTLISTED, Scored, within
from tasks.selection.sample import sample

FIRST, SECOND = 300, 2000  # images for all options, and for those near the best


class Comparison:
    """Scores options on images below `raw`, with candidates' weights in `folder`."""

    def __init__(
        self,
        folder: Path,
        raw: Path,
        target: TargetSpec,
        backbone: BackboneParams,
        compute: ComputeParams,
        decoding: Decoding,
    ) -> None:
        self._folder, self._raw, self._target = folder, raw, target
        self._backbone, self._compute, self._decoding = backbone, compute, decoding

    def run(self, options: Sequence[Option], rows: pd.DataFrame) -> list[Scored]:
        """Returns the scored options: all on FIRST of the images; if some are near the best, these on SECOND."""
        scored = self._scored(options, sample(rows, FIRST))
        near = within(scored, SHORTLISTED)
        if len(near) < 2 or len(rows) <= FIRST:
            return scored
        say(f"{len(near)} of {len(scored)} are near the best; they are compared on {min(len(rows), SECOND)} images")
        return self._scored([each.option for each in near], sample(rows, SECOND))

    def features(self, option: Option, files: Sequence[str]) -> tuple[Tensor, float]:
        """Returns the features of clean images, (N, D) float32, and the floating-point operations for one image."""
        backbone = self._built(option)
        device, batch = choose(self._compute.device, "float32"), self._compute.batch
        return extract(self._raw, files, backbone, device, RenderStyle(), batch), flops_of(backbone)

    def _scored(self, options: Sequence[Option], rows: pd.DataFrame) -> list[Scored]:
        problem = problem_of(rows, self._target)
        scored = []
        for option in options:
            x_ND, flops = self.features(option, rows[Column.PATH].tolist())
            with one_thread():
                part_U = score_parts(x_ND, problem)
            scored.append(Scored(option, part_U, len(rows), flops))
            say(f"{option.name}: {scored[-1].score:.3f} +- {scored[-1].standard_error:.3f} on {len(rows)} images")
        return scored

    def _built(self, option: Option) -> Backbone:
        params, candidate = self._backbone, option.candidate
        state, description = read(self._folder / candidate.file)
        sizes = (option.resize, option.crop)
        named = (candidate.architecture, state, description)
        return build(*named, *sizes, params.cut, params.letterbox, self._decoding).folded()


def flops_of(backbone: Backbone) -> float:
    """Returns the floating-point operations for one image, a cost that every machine counts alike."""
    side = backbone.preprocessing.crop
    with FlopCounterMode(display=False) as counter, torch.inference_mode():
        backbone.module.cpu()(torch.zeros(1, 3, side, side))
    return float(counter.get_total_flops())
