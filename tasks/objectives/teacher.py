"""Loads the teacher, a full model or a backbone with a fitted head, and stores its outputs for each view.

Shapes: N rows, D features, C outputs, E features of the teacher.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from math import ceil
from pathlib import Path
from typing import Any

import pandas as pd
import PIL
import torch
import torchvision
from torch import Tensor, nn

from tasks.core.digest import code_digest
from tasks.core.errors import ParamsError
from tasks.core.files import sha256_of
from tasks.core.objective_sections import NO_TEACHER, TeacherParams
from tasks.core.schema import Column
from tasks.core.target import TargetSpec, kind_of
from tasks.embedding.extraction import Extraction, one_thread_facts, view_batches
from tasks.embedding.feature_store import FeatureStore
from tasks.embedding.key_index import keys_of
from tasks.embedding.spreading import embed_to_store
from tasks.embedding.thread_count import threads_with_room
from tasks.hardware.device import Device
from tasks.images.transforms import RenderStyle
from tasks.images.views import Draw
from tasks.models.backbone import Backbone, build, check_architecture
from tasks.models.weights_file import read, read_description
from tasks.objectives.teacher_file import readable
from tasks.scorer.architectures import build_backbone, folded
from tasks.scorer.heads import build_head
from tasks.scorer.network import Network
from tasks.scorer.preprocessing import Preprocessing

SPEC = "spec"  # key of a full model's spec in the description of its weights file


class OutputsAndFeatures(nn.Module):
    """A network that returns its outputs (N, C), or, with `features`, outputs and features, (N, C + E)."""

    def __init__(self, network: Network, *, features: bool) -> None:
        super().__init__()
        self.network = network
        self._features = features

    def forward(self, x_N3SS: Tensor) -> Tensor:
        """Returns the outputs, then the features, for inputs (N, 3, S, S)."""
        feature_NE = self.network.backbone(x_N3SS)
        output_NC: Tensor = self.network.head(feature_NE)
        return torch.cat([output_NC, feature_NE], 1) if self._features else output_NC


@dataclass(frozen=True)
class Teacher:
    """A network, the width of its features, its preprocessing, and the `identity` that its outputs depend on."""

    network: Network
    width: int
    preprocessing: Preprocessing
    identity: Mapping[str, object]
    reload: Callable[..., Backbone] | None = None  # `answering` of the same teacher in another process

    def digest(self) -> str:
        """Returns the SHA-256 of its identity."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def outputs(
        self,
        root: Path,
        rows: pd.DataFrame,
        draw: Draw,
        store: Path,
        device: Device,
        style: RenderStyle,
        batch: int,
        *,
        features: bool,
    ) -> Tensor:
        """Returns the outputs for one view of each row, (N, C) or (N, C + E); stored outputs are not recomputed."""
        context = {
            **self.identity,
            "answers": "with features" if features else "outputs",
            "preprocessing": asdict(self.preprocessing),
            **asdict(style),
            "batch": batch,
            "torchvision": torchvision.__version__,
            "pillow": PIL.__version__,
            "code": code_digest(__name__),
            **one_thread_facts(device),
        }
        stored = FeatureStore(store, context)
        draw_NP = draw(torch.arange(len(rows)))
        key_N2 = keys_of(list(rows[Column.SHA256]), draw_NP.numpy())
        missing_N = stored.missing(key_N2)
        if missing_N.any():
            backbone, load = self.answering(features=features), self.reload and partial(self.reload, features=features)
            extraction = Extraction(backbone, device, style, batch, root)
            files = rows[Column.PATH].to_numpy(object)[missing_N]
            views = view_batches(zip(files, draw_NP[missing_N].numpy(), key_N2[missing_N], strict=True), batch)
            threads = threads_with_room(backbone.module, backbone.preprocessing.crop, device, batch)
            embed_to_store(extraction, load, stored, views, ceil(len(files) / batch), threads)
        return stored[key_N2]

    def answering(self, *, features: bool) -> Backbone:
        """Returns the network for inference, as one whose features are outputs (N, C), or with features (N, C + E)."""
        network = Network(folded(self.network.backbone), self.network.head)
        module = OutputsAndFeatures(network, features=features).eval().requires_grad_(False)
        return Backbone(module, self.width, self.preprocessing)


def load(
    file: Path, params: TeacherParams, target: TargetSpec, head: Path, student: Preprocessing
) -> Teacher | Backbone:
    """Loads the teacher, with the head in the file `head` if it has none; returns its backbone if there is no head.

    A teacher without its own preprocessing sees images like the student: letterboxed or not, and decoded in the same
    way; for one with its own, images may be as large as for the student. Raises ParamsError if there is no teacher,
    or if it predicts other classes or targets.
    """
    state, description = read(file)
    if not state:
        raise ParamsError(NO_TEACHER, key="teacher.weights")
    if SPEC in description:
        if params.resize or params.crop:
            raise ParamsError(
                "teacher.resize, teacher.crop: this teacher has its own preprocessing; set both to null",
                key="teacher.resize",
            )
        teacher = whole(state, description[SPEC], target, file)
        decoding = replace(teacher.preprocessing.decoding, max_pixels=student.decoding.max_pixels)
        return replace(teacher, preprocessing=replace(teacher.preprocessing, decoding=decoding))
    if params.architecture is None:
        raise ParamsError(
            "teacher.architecture: teacher.weights do not name their architecture; set it", key="teacher.architecture"
        )
    check_architecture(params.architecture, "teacher.architecture")
    sizes, letterbox, decoding = (params.resize, params.crop), student.letterbox, student.decoding
    backbone = build(params.architecture, state, description, *sizes, letterbox=letterbox, decoding=decoding)
    if not head.exists():
        return backbone
    head_state, settings = read(head)
    return with_head(backbone, head_state, settings, target, file)


def check_classes(spec: Mapping[str, Any], target: TargetSpec) -> None:
    """Raises ParamsError if the registered model of `spec` predicts other classes or targets."""
    names = [*spec["classes"], *spec["targets"]]
    if names != list(target.names) or kind_of(spec) is not target.kind:
        raise ParamsError(
            f"teacher.weights: the teacher predicts {', '.join(names[:5])}, but the data has "
            f"{', '.join(target.names[:5])}; use a teacher that was trained on the same classes",
            key="teacher.weights",
        )


def whole(state: dict[str, Tensor], spec: Mapping[str, Any], target: TargetSpec, file: Path) -> Teacher:
    """Builds a registered model as a teacher. Raises ParamsError if it predicts other classes or targets."""
    with readable(file):
        check_classes(spec, target)
        backbone, width = build_backbone(spec["architecture"], spec["cut"])
        network = Network(backbone, build_head(width, target.num_outputs, **spec["head"]))
        network.load_state_dict(state)
        preprocessing = Preprocessing.of(spec["preprocessing"])
    return Teacher(network.eval(), width, preprocessing, {"teacher": sha256_of(file)})


def check_teacher_classes(file: Path, target: TargetSpec) -> None:
    """Raises ParamsError if the teacher in `file` is a full model that predicts other classes or targets."""
    if spec := read_description(file).get(SPEC):
        with readable(file):
            check_classes(spec, target)


def with_head(
    backbone: Backbone, state: dict[str, Tensor], settings: Mapping[str, Any], target: TargetSpec, file: Path
) -> Teacher:
    """Builds a teacher from a backbone and a head fitted on its features."""
    head = build_head(backbone.width, target.num_outputs, **settings)
    head.load_state_dict(state)
    identity = {"teacher": sha256_of(file), "head": {name: tensor.tolist() for name, tensor in state.items()}}
    network = Network(backbone.module, head).eval()
    return Teacher(network, backbone.width, backbone.preprocessing, identity)
