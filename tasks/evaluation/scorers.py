"""Scorers of the candidates. Shapes: N images, C classes or targets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from tasks.core.errors import ParamsError
from tasks.core.files import sha256_of
from tasks.core.objective_sections import TeacherParams
from tasks.core.progress import counted
from tasks.core.schema import Candidate
from tasks.core.sections import BackboneParams
from tasks.core.target import TargetSpec
from tasks.hardware.device import Device
from tasks.images.loading import ImageSquares, prefetch
from tasks.models.backbone import Backbone
from tasks.models.networks import probe_network, scratch_head
from tasks.models.weights_file import check_unchanged, read
from tasks.objectives.teacher import load
from tasks.scorer.answer import Scorer, spec_of
from tasks.scorer.network import build_network
from tasks.scorer.preprocessing import Preprocessing


def scorers(
    params: BackboneParams,
    target: TargetSpec,
    backbone: Backbone,
    head_weights: Path,
    trained: Mapping[Candidate, Path],
) -> dict[Candidate, Scorer]:
    """Builds an uncalibrated scorer for the probe and for each trained network whose weights file exists."""
    networks = {Candidate.PROBE: probe_network(backbone, head_weights, target.num_outputs)}
    _, head = read(head_weights)
    for name, weights in trained.items():
        if weights.exists():
            settings = scratch_head(head) if name is Candidate.SCRATCH else head
            networks[name] = build_network(backbone.architecture, target.num_outputs, params.cut, **settings)
            networks[name].load_state_dict(read(weights)[0])
    spec = _spec(params, target, backbone, head)
    return {name: Scorer(networks[name], spec) for name in Candidate if name in networks}


def _spec(params: BackboneParams, target: TargetSpec, backbone: Backbone, head: Mapping[str, Any]) -> dict[str, Any]:
    common = (backbone.architecture, target.classes, backbone.preprocessing, params.cut, head)
    return spec_of(*common, targets=target.targets)


def tuned_file(
    params: BackboneParams, target: TargetSpec, backbone: Backbone, head_weights: Path, weights: Path
) -> TunedFile:
    """Returns what loads the fine-tuned network's scorer in another process."""
    spec = _spec(params, target, backbone, read(head_weights)[1])
    return TunedFile(weights.absolute(), sha256_of(weights), spec, target.num_outputs)


@dataclass(frozen=True)
class TunedFile:
    """The fine-tuned network's file, and what else its scorer needs. Loads the scorer, in any process."""

    weights: Path
    sha256: str
    spec: Mapping[str, Any]
    outputs: int

    def __call__(self) -> Scorer:
        """Returns the uncalibrated scorer. Raises RootstockError if the file is no longer what it was."""
        check_unchanged(self.weights, self.sha256)
        network = build_network(self.spec["architecture"], self.outputs, self.spec["cut"], **self.spec["head"])
        network.load_state_dict(read(self.weights)[0])
        return Scorer(network, dict(self.spec))


def teacher_scorer(file: Path, params: TeacherParams, target: TargetSpec, head: Path, student: Preprocessing) -> Scorer:
    """Builds an uncalibrated scorer for the teacher, with the head fitted by finetune if its file has none.

    Raises ParamsError if no head has been fitted.
    """
    teacher = load(file, params, target, head, student)
    if isinstance(teacher, Backbone):
        raise ParamsError("teacher.weights: the teacher has no fitted head; run finetune first", key="teacher.weights")
    spec = spec_of(params.architecture or "", target.classes, teacher.preprocessing, targets=target.targets)
    return Scorer(teacher.network, spec)


def logits_of(
    scorers: Mapping[Candidate, Scorer], root: Path, files: Sequence[str], device: Device, batch: int
) -> dict[Candidate, Tensor]:
    """Returns each candidate's outputs, (N, C) float32, for N files below `root`; each image is read once."""
    preprocessing = next(iter(scorers.values())).preprocessing
    for scorer in scorers.values():
        device.place(scorer.network)
    squares = ImageSquares(root, files, preprocessing, memory=0)
    starts = range(0, len(files), batch)
    read_ahead = prefetch(squares[range(start, min(start + batch, len(files)))] for start in starts)
    parts: dict[Candidate, list[Tensor]] = {name: [] for name in scorers}
    for square_N3RR in counted(read_ahead, len(starts), "batches scored"):
        x_N3SS = preprocessing.network_input(square_N3RR)
        for name, scorer in scorers.items():
            parts[name].append(scorer.forward(x_N3SS))
    return {name: torch.cat(logits) for name, logits in parts.items()}
