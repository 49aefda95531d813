"""Weights from which stages start: candidates for the choice of a backbone, and the outputs of a choice."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from tasks.core.files import sha256_of
from tasks.models.weights_file import write
from tasks.scorer.architectures import build_backbone
from tasks.scorer.preprocessing import Preprocessing
from tasks.selection.candidates import BackboneCandidate, write_candidates
from tasks.selection.choice import Choice
from tests.drawn import SHAPES, SIDE, drawn

PREPARE = Preprocessing(SIDE, SIDE, (0.5,) * 3, (0.5,) * 3, "bilinear")


def write_good_and_bad(folder: Path, tiny_weights: Path) -> list[BackboneCandidate]:
    """Writes the tiny backbone, and a cheaper one that computes the same for every image, which is listed first."""
    write(folder / "good.weights", torch.load(tiny_weights), {"preprocessing": asdict(PREPARE), "license": "free"})
    constant, _ = build_backbone("resnet8")
    for parameter in constant.parameters():
        torch.nn.init.zeros_(parameter)
    write(folder / "bad.weights", constant.state_dict(), {"preprocessing": asdict(PREPARE)})
    entries = [("resnet8", "bad.weights", ""), ("shufflenet_v2_x0_5", "good.weights", "free")]
    listed = [BackboneCandidate(name, file, sha256_of(folder / file), of) for name, file, of in entries]
    write_candidates(folder, listed)
    return listed


def write_chosen(folder: Path, weights: Path, architecture: str, crop: int) -> None:
    """Writes the outputs of the stage choose for named weights, which are linked."""
    folder.mkdir(parents=True)
    (folder / "backbone.weights").symlink_to(weights.resolve())
    Choice(architecture, "", "", crop, crop, images=0).save(folder / "choice.json")


def write_tiny_weights(file: Path) -> Path:
    """Writes a .pth file of torchvision's smallest ShuffleNet with random weights. Returns the file."""
    from torchvision.models import shufflenet_v2_x0_5

    torch.manual_seed(0)
    network = shufflenet_v2_x0_5()
    pictures = [np.asarray(drawn(shape, seed)) for shape in SHAPES for seed in range(500, 540)]
    x = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    with torch.inference_mode():
        for _ in range(30):
            network(x)  # its BatchNorm statistics are of drawn images
    torch.save(network.state_dict(), file)
    return file
