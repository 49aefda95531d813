"""A teacher's outputs are cached by file."""

from __future__ import annotations

from contextlib import suppress

import pandas as pd
import pytest
import torch
from PIL import Image

from tasks.core.errors import ParamsError
from tasks.core.target import TargetKind, TargetSpec
from tasks.data.file_facts import facts_of_files as facts
from tasks.hardware.device import choose
from tasks.images.transforms import RenderStyle
from tasks.images.views import draw_clean
from tasks.models.weights_file import read, write
from tasks.objectives.teacher import SPEC, Teacher, check_teacher_classes, whole
from tasks.scorer.architectures import build_backbone
from tasks.scorer.network import Network
from tasks.scorer.preprocessing import Preprocessing
from tests.conftest import TINY
from tests.drawn import SIDE, drawn
from tests.errors import raises


def test_a_jpeg_and_its_lossless_copy_do_not_share_outputs(tmp_path):
    """A large JPEG is decoded at reduced size: the pixels are the same, but the teacher's inputs are not."""
    files = ["large.jpg", "large.png"]
    drawn("bar", 999, side=600).save(tmp_path / files[0])
    Image.open(tmp_path / files[0]).save(tmp_path / files[1])
    rows = pd.DataFrame(facts(tmp_path, files, {}))
    assert rows["pixel_hash"].nunique() == 1
    backbone, width = build_backbone(TINY["architecture"])
    network = Network(backbone, torch.nn.Linear(width, 3)).eval()
    teacher = Teacher(network, width, Preprocessing(SIDE, SIDE, (0.5,) * 3, (0.5,) * 3, "bilinear"), {"teacher": "x"})

    def outputs(asked: pd.DataFrame, store: str) -> torch.Tensor:
        common = (choose("cpu", "float32"), RenderStyle(), 2)
        return teacher.outputs(tmp_path, asked, draw_clean, tmp_path / store, *common, features=True)

    together = outputs(rows, "both")
    alone = torch.cat([outputs(rows.iloc[[place]], f"store {place}") for place in (0, 1)])
    assert together.shape == (2, 3 + width)
    assert torch.equal(together, alone)
    assert not torch.equal(together[0], together[1])


SPECS = (3, "spec", [1], {"classes": 3}, {"classes": ["a", "b"], "targets": []}, {"targets": ["a"], "classes": None})


@pytest.mark.parametrize("spec", SPECS)
def test_a_file_that_is_no_complete_model_is_refused(tmp_path, spec):
    file = tmp_path / "teacher.safetensors"
    write(file, {"a": torch.ones(2)}, {SPEC: spec})
    target = TargetSpec(TargetKind.CLASSIFICATION, classes=("a", "b"))
    with suppress(ParamsError):  # classes may be right
        check_teacher_classes(file, target)
    with raises(ParamsError, "teacher.weights"):
        whole(read(file)[0], spec, target, file)
