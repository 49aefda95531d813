"""The models that are compared: as networks to train, and as scorers to evaluate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from tasks.parts.backbone import Backbone
from tasks.parts.device import Device
from tasks.parts.heads import linear
from tasks.parts.names import HEAD_BIAS, HEAD_WEIGHT, Candidate
from tasks.parts.pixels import Squares, ahead
from tasks.parts.progress import counted
from tasks.parts.scorer import Network, Scorer, build_network, spec_of
from tasks.parts.weights import read


def probe_network(backbone: Backbone, head_weights: Path) -> Network:
    """The pretrained backbone with the trained head: the probe, and where fine-tuning starts."""
    head, _ = read(head_weights)
    return Network(backbone.module, linear(head[HEAD_WEIGHT], head[HEAD_BIAS]))


def scratch_network(architecture: str, classes: int, seed: int) -> Network:
    """The same network with random weights."""
    torch.manual_seed(seed)
    return build_network(architecture, classes)


def scorers(
    architecture: str, classes: Sequence[str], backbone: Backbone, head_weights: Path, trained: Mapping[Candidate, Path]
) -> dict[Candidate, Scorer]:
    """An uncalibrated scorer for the probe and for each trained network whose file exists."""
    networks = {Candidate.PROBE: probe_network(backbone, head_weights)}
    for name, weights in trained.items():
        if weights.exists():
            networks[name] = build_network(architecture, len(classes))
            networks[name].load_state_dict(read(weights)[0])
    spec = spec_of(architecture, classes, backbone.preprocessing)
    return {name: Scorer(networks[name], spec) for name in Candidate if name in networks}


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
        x_N3SS = preprocessing.normalise(preprocessing.centre(square_N3RR))
        for name, scorer in scorers.items():
            parts[name].append(scorer.forward(x_N3SS))
    return {name: torch.cat(logits) for name, logits in parts.items()}
