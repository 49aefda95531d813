"""The candidates as scorers, to evaluate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tasks.core.errors import ParamsError
from tasks.core.progress import counted
from tasks.core.schema import Candidate
from tasks.core.sections import BackboneParams, TeacherParams
from tasks.hardware.device import Device
from tasks.images.loading import Squares, ahead
from tasks.models.backbone import Backbone
from tasks.models.networks import probe_network, scratch_head
from tasks.models.weights_file import read
from tasks.objectives.teacher import load
from tasks.scorer.answer import Scorer, spec_of
from tasks.scorer.network import build_network
from tasks.training.goal import Goal


def scorers(
    wanted: BackboneParams,
    goal: Goal,
    backbone: Backbone,
    head_weights: Path,
    trained: Mapping[Candidate, Path],
) -> dict[Candidate, Scorer]:
    """An uncalibrated scorer for the probe and for each trained network whose file exists."""
    networks = {Candidate.PROBE: probe_network(backbone, head_weights, goal.outputs)}
    _, head = read(head_weights)
    for name, weights in trained.items():
        if weights.exists():
            own = scratch_head(head) if name is Candidate.SCRATCH else head
            networks[name] = build_network(wanted.architecture, goal.outputs, wanted.cut, **own)
            networks[name].load_state_dict(read(weights)[0])
    halves = [0.5] * len(goal.classes) if goal.several else []
    common = (wanted.architecture, goal.classes, backbone.preprocessing, wanted.cut, head)
    spec = spec_of(*common, targets=goal.targets, label_thresholds=halves)
    return {name: Scorer(networks[name], spec) for name in Candidate if name in networks}


def teacher_scorer(file: Path, wanted: TeacherParams, goal: Goal, head: Path, *, letterbox: bool) -> Scorer:
    """The teacher as a scorer, uncalibrated, with the head that was fitted on it where it came without one.

    Raises ParamsError if it still has none.
    """
    found = load(file, wanted, goal.spec, head, letterbox=letterbox)
    if isinstance(found, Backbone):
        raise ParamsError("teacher.weights: no head was fitted on it; run finetune first")
    halves = [0.5] * len(goal.classes) if goal.several else []
    common = (goal.classes, found.preprocessing)
    spec = spec_of(wanted.architecture or "", *common, targets=goal.targets, label_thresholds=halves)
    return Scorer(found.network, spec)


def logits_of(
    scorers: Mapping[Candidate, Scorer], root: Path, files: Sequence[str], device: Device, batch: int
) -> dict[Candidate, Tensor]:
    """Logits of each candidate, (N, C) float32, for these files; each picture is read once."""
    preprocessing = next(iter(scorers.values())).preprocessing
    for scorer in scorers.values():
        device.place(scorer.network)
    squares = Squares(root, files, preprocessing, memory=0)
    starts = range(0, len(files), batch)
    read_ahead = ahead(squares[range(start, min(start + batch, len(files)))] for start in starts)
    parts: dict[Candidate, list[Tensor]] = {name: [] for name in scorers}
    for square_N3RR in counted(read_ahead, len(starts), "batches scored"):
        x_N3SS = preprocessing.network_input(square_N3RR)
        for name, scorer in scorers.items():
            parts[name].append(scorer.forward(x_N3SS))
    return {name: torch.cat(logits) for name, logits in parts.items()}
