"""The embedded data and the embedded backbone."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest
import torch

from flows.config.parameters import load
from tasks.core.files import read_json, sha256_of
from tasks.core.schema import Split
from tasks.embedded.digits import digits, render
from tasks.embedded.glyphs import CHARACTERS, clean_glyphs, fonts, photograph
from tasks.embedded.pretraining import digit_probes
from tasks.models import weights_file
from tasks.models.backbone import build
from tests.project import ROOT

EMBEDDED = ROOT / "data" / "backbone" / "resnet10-glyphs.safetensors"


def test_the_digits_are_split_without_overlap():
    rows = list(digits())
    assert Counter(split for _, _, split, _ in rows) == {
        Split.TRAIN: 100,
        Split.VALIDATION: 100,
        Split.UNLABELED: 800,
        Split.TEST: 797,
    }
    assert Counter(digit for _, digit, split, _ in rows if split is Split.TRAIN) == dict.fromkeys(range(10), 10)
    assert len({number for *_, number in rows}) == 1797


def test_the_rendered_folder_is_the_same_on_every_machine(tmp_path):
    """PNG files are uncompressed, so this digest does not depend on the installed compressor."""
    render(tmp_path)
    total = hashlib.sha256()
    for file in sorted(tmp_path.rglob("*.png")):
        total.update(file.relative_to(tmp_path).as_posix().encode() + file.read_bytes())
    assert total.hexdigest() == "bf7f4144e9dbb15bb50548f77d45a597bac61d0f286090d50b7c10620c65c71b"


def test_every_character_is_drawn_in_every_font():
    glyphs, classes = clean_glyphs()
    assert glyphs.shape == (len(fonts()) * len(CHARACTERS) * 3, 96, 96)
    assert (glyphs.flatten(1).amax(1) > 200).all()
    assert set(classes.tolist()) == set(range(62))


def test_photographs_are_seeded_and_in_range():
    glyphs, _ = clean_glyphs()
    first, again, other = (photograph(glyphs[:16], 64, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert first.shape == (16, 3, 64, 64)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert 0 <= first.min() <= first.max() <= 1


def test_the_committed_backbone_is_the_one_its_recipe_describes():
    recipe = read_json(EMBEDDED.with_suffix(".json"))
    assert recipe["sha256"] == sha256_of(EMBEDDED)
    assert recipe["pretrain"] == load().pretrain.model_dump()


def test_the_committed_backbone_is_as_good_as_its_recipe_says():
    recipe = read_json(EMBEDDED.with_suffix(".json"))
    backbone = build("resnet10", *weights_file.read(EMBEDDED), None, None)
    accuracies = digit_probes(backbone.module, backbone.preprocessing.crop, 10, 3, [1e-3, 1e-2, 1e-1])
    promised = recipe["linear_probe_on_digits"]["10 labels a class"]["mean"]
    assert sum(accuracies) / 3 == pytest.approx(promised, abs=0.015)
    assert promised >= 0.96
