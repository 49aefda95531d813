"""The big model: brought in whole, or as a backbone on which a head is fitted; what it says of a view is kept.

Shapes: N rows, C outputs, E features of the teacher.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import PIL
import torch
import torchvision
from torch import Tensor, nn

from tasks.core.errors import ParamsError
from tasks.core.files import sha256_of
from tasks.core.schema import Column
from tasks.core.sections import NO_TEACHER, TeacherParams
from tasks.data.manifest import usable
from tasks.embedding.extract import CODE, extract
from tasks.embedding.feature_store import FeatureStore, key_of
from tasks.hardware.device import Device
from tasks.heads.linear import Rows, Train, best, fit_probes, fit_ridge
from tasks.images.transforms import DRAW, Style
from tasks.models.backbone import Backbone, build, check_architecture
from tasks.models.weights_file import described, read
from tasks.scorer.scorer import Network, Preprocessing, Scaled, build_backbone, build_head, folded
from tasks.training.goal import Goal

SPEC = "spec"  # of a whole model, in the description of its weights file
LINEAR = {"kind": "linear"}
STRENGTHS = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0)  # penalties of the head that is fitted on a teacher without one


class Answering(nn.Module):
    """A network whose answer is its outputs, and its features beside them where they are wanted, (N, C + E)."""

    def __init__(self, network: Network, *, features: bool) -> None:
        super().__init__()
        self.network = network
        self._features = features

    def forward(self, x_N3SS: Tensor) -> Tensor:
        """Outputs first."""
        feature_NE = self.network.backbone(x_N3SS)
        output_NC: Tensor = self.network.head(feature_NE)
        return torch.cat([output_NC, feature_NE], 1) if self._features else output_NC


@dataclass(frozen=True)
class Teacher:
    """A network with the width of its features and its preprocessing; `identity` is all that its answers depend on."""

    network: Network
    width: int
    preprocessing: Preprocessing
    identity: Mapping[str, object]

    def answers(
        self, root: Path, rows: pd.DataFrame, store: Path, device: Device, style: Style, batch: int, *, features: bool
    ) -> Tensor:
        """What it says of each row, a path and a draw, (N, C) or (N, C + E); only what the store lacks is computed."""
        context = {
            **self.identity,
            "answers": "with features" if features else "outputs",
            "preprocessing": asdict(self.preprocessing),
            **asdict(style),
            "batch": batch,
            "torchvision": torchvision.__version__,
            "pillow": PIL.__version__,
            "code": [
                sha256_of(CODE / f"{name}.py") for name in ("scorer/scorer", "images/transforms", "objectives/teacher")
            ],
            **device.facts(),
        }
        kept = FeatureStore(store, context)
        keys = [key_of(pixels, draw) for pixels, *draw in rows[[Column.PIXEL_HASH, *DRAW]].itertuples(index=False)]
        missing = [place for place, key in enumerate(keys) if key not in kept]
        if missing:
            network = Network(folded(self.network.backbone), self.network.head)
            answering = Backbone(Answering(network, features=features).eval(), self.width, self.preprocessing)
            for found, matrix in extract(root, rows.iloc[missing], answering, device, style, batch):
                kept.add([keys[missing[row]] for row in found], matrix)
        return torch.from_numpy(kept[keys]) if keys else torch.empty(0, 0)


def load(file: Path, wanted: TeacherParams, goal: Goal, head: Path, *, letterbox: bool) -> Teacher | Backbone:
    """The teacher that was brought in, with the head in a file where it has none of its own; else its backbone.

    One that does not bring its own preprocessing sees whole pictures (`letterbox`) where its student does.

    Raises ParamsError if there is no teacher, or it answers another question.
    """
    state, description = read(file)
    if not state:
        raise ParamsError(NO_TEACHER)
    if SPEC in description:
        if wanted.resize or wanted.crop:
            raise ParamsError("teacher.resize, teacher.crop: this teacher brings its own; set both to null")
        return whole(state, description[SPEC], goal, file)
    if wanted.architecture is None:
        raise ParamsError("teacher.architecture: these weights do not say it; set it")
    check_architecture(wanted.architecture)
    backbone = build(wanted.architecture, state, description, wanted.resize, wanted.crop, letterbox=letterbox)
    if not head.exists():
        return backbone
    head_state, settings = read(head)
    return headed(backbone, head_state, settings, goal, file)


def check_classes(spec: Mapping[str, Any], goal: Goal) -> None:
    """Raises ParamsError if a model that Rootstock made knows other classes or targets."""
    known, asked = [*spec["classes"], *spec["targets"]], [*goal.classes, *goal.targets]
    if known != asked or bool(spec["label_thresholds"]) != goal.several:
        raise ParamsError(
            f"teacher.weights: the teacher answers {', '.join(known[:5])}, but the data asks for "
            f"{', '.join(asked[:5])}; take one that was trained on the same classes"
        )


def whole(state: dict[str, Tensor], spec: Mapping[str, Any], goal: Goal, file: Path) -> Teacher:
    """A model that Rootstock made. Raises ParamsError if it knows other classes or targets."""
    check_classes(spec, goal)
    backbone, width = build_backbone(spec["architecture"], spec["cut"])
    network = Network(backbone, build_head(width, goal.outputs, **spec["head"]))
    network.load_state_dict(state)
    preprocessing = Preprocessing.of(spec["preprocessing"])
    return Teacher(network.eval(), width, preprocessing, {"teacher": sha256_of(file)})


def refuse_other_classes(file: Path, manifest: pd.DataFrame) -> None:
    """Raises ParamsError if the teacher that was brought in answers another question than the data asks."""
    if spec := described(file).get(SPEC):
        check_classes(spec, Goal.of(usable(manifest)))


def headed(
    backbone: Backbone, state: dict[str, Tensor], settings: Mapping[str, Any], goal: Goal, file: Path
) -> Teacher:
    """A backbone with a head that was fitted on it."""
    head = build_head(backbone.width, goal.outputs, **settings)
    head.load_state_dict(state)
    identity = {"teacher": sha256_of(file), "head": {name: tensor.tolist() for name, tensor in state.items()}}
    network = Network(backbone.module, head).eval()
    return Teacher(network, backbone.width, backbone.preprocessing, identity)


def fitted(train: Train, validation: Rows, goal: Goal) -> tuple[nn.Module, dict[str, Any]]:
    """The best linear head on a teacher's features, and what it is."""
    if not goal.targets:
        return best(fit_probes(train, validation, goal.outputs, STRENGTHS, measure=goal.measure())).head, LINEAR
    learned = Scaled(best(fit_ridge(train, validation, STRENGTHS)).head, goal.outputs)
    learned.set_scale(goal.mean_K, goal.spread_K)
    return learned, {**LINEAR, "scaled": 1}
