"""A teacher's outputs are cached by file."""

from __future__ import annotations

import pandas as pd
import torch
from PIL import Image

from tasks.data.image_files import facts
from tasks.hardware.device import choose
from tasks.images.transforms import CLEAN, VIEW_PARAMETERS, RenderStyle
from tasks.objectives.teacher import Teacher
from tasks.scorer.architectures import build_backbone
from tasks.scorer.network import Network
from tasks.scorer.preprocessing import Preprocessing
from tests.conftest import TINY
from tests.drawn import SIDE, drawn


def test_a_jpeg_and_its_lossless_copy_do_not_share_outputs(tmp_path):
    """A large JPEG is decoded at reduced size: the pixels are the same, but the teacher's inputs are not."""
    files = ["large.jpg", "large.png"]
    drawn("bar", 999, side=600).save(tmp_path / files[0])
    Image.open(tmp_path / files[0]).save(tmp_path / files[1])
    rows = pd.DataFrame(facts(tmp_path, files, {})).assign(**dict(zip(VIEW_PARAMETERS, CLEAN, strict=True)))
    assert rows["pixel_hash"].nunique() == 1
    backbone, width = build_backbone(TINY["architecture"])
    network = Network(backbone, torch.nn.Linear(width, 3)).eval()
    teacher = Teacher(network, width, Preprocessing(SIDE, SIDE, (0.5,) * 3, (0.5,) * 3, "bilinear"), {"teacher": "x"})

    def outputs(asked: pd.DataFrame, store: str) -> torch.Tensor:
        common = (choose("cpu", "float32"), RenderStyle(), 2)
        return teacher.outputs(tmp_path, asked, tmp_path / store, *common, features=True)

    together = outputs(rows, "both")
    alone = torch.cat([outputs(rows.iloc[[place]], f"store {place}") for place in (0, 1)])
    assert together.shape == (2, 3 + width)
    assert torch.equal(together, alone)
    assert not torch.equal(together[0], together[1])
