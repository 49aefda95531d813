"""Cached results are used until the code that computed them is edited; edits of other code change no key."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from flows.comparison.cell import SHARED_STAGES, TRIAL_STAGES
from flows.comparison.preparation import code_of
from tasks.core import digest
from tasks.core.digest import ROOT, closure
from tasks.core.sections import BackboneParams
from tasks.embedding import context as contexts
from tasks.embedding import feature_store
from tasks.embedding.feature_store import FeatureStore, write_shard
from tasks.embedding.key_index import keys_of
from tasks.hardware.device import choose
from tasks.images.transforms import RenderStyle
from tasks.models.backbone import Backbone
from tasks.scorer.decode import Decoding
from tasks.scorer.preprocessing import Preprocessing
from tasks.training.checkpoint import digest_of
from tests.conftest import TINY
from tests.drawn import SIDE


@pytest.fixture
def copied(tmp_path, monkeypatch):
    """Returns an editable copy of the code, from which digests are computed."""
    shutil.copytree(ROOT / "tasks", tmp_path / "tasks", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(digest, "ROOT", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    digest._imports.cache_clear()
    digest.code_digest.cache_clear()


def edit(*files: Path) -> None:
    forget()
    for file in files:
        file.write_text(file.read_text() + "# edited\n")


@pytest.fixture
def context(tmp_path):
    """Returns a function that computes the key context of a network's features."""
    weights = tmp_path / "weights"
    weights.write_bytes(b"any")
    preprocessing = Preprocessing(SIDE, SIDE, (0.5,) * 3, (0.5,) * 3, "bilinear")
    params = BackboneParams(
        **TINY, weights="tiny.pth", match="strict", cut="layer", letterbox=False, candidates={}, download=False
    )

    def compute(**changes: object) -> dict[str, object]:
        backbone = Backbone(torch.nn.Identity(), 1, replace(preprocessing, **changes))
        return contexts.context(weights, params, backbone, choose("cpu", "float32"), RenderStyle(), 4)

    return compute


def test_an_edit_of_what_computes_a_feature_changes_its_key_and_no_other_edit_does(copied, context):
    inside = closure(*contexts.CODE)
    assert len(inside) > 8
    seen = [context()]
    for file in inside:
        edit(file)
        assert context() not in seen, file
        seen.append(context())
    outside = set((copied / "tasks").rglob("*.py")) - set(inside)
    assert len(outside) > 80
    edit(*outside)
    assert context() == seen[-1]


def test_settings_that_change_pixels_change_the_key_and_a_limit_does_not(context):
    keys = [context(decoding=Decoding(**changes)) for changes in ({}, {"max_pixels": 10}, {"background": (0, 0, 0)})]
    assert keys[0] == keys[1] != keys[2]
    assert context(decoding=Decoding(white_level=4095)) not in keys


def test_features_of_code_before_an_edit_are_not_used_and_make_room(copied, context, monkeypatch):
    monkeypatch.setattr(feature_store, "RECENT", 0)
    keys, rows = keys_of(["file"], np.zeros((1, 1))), torch.ones(1, 4)
    write_shard(FeatureStore(copied / "store", context()).folder, keys, rows)
    edit(copied / "tasks" / "embedding" / "extraction.py")
    store = FeatureStore(copied / "store", context())
    assert store.missing(keys).all()
    write_shard(store.folder, keys, rows)
    store.collect(1.0)
    assert len(list((copied / "store").iterdir())) == 2
    store.collect(1e-9)
    assert [len(list(folder.iterdir())) for folder in (copied / "store").iterdir()] == [1]
    assert not FeatureStore(copied / "store", context()).missing(keys).any()


def test_only_an_edit_of_its_fit_invalidates_a_checkpoint(copied):
    first = digest_of("tasks.finetune", [], {})
    edit(copied / "tasks" / "evaluate.py", copied / "tasks" / "ingest.py")
    assert digest_of("tasks.finetune", [], {}) == first
    edit(copied / "tasks" / "objectives" / "finetuning.py")
    assert digest_of("tasks.finetune", [], {}) != first


def test_an_edit_of_a_later_stage_does_not_change_a_comparisons_data(copied):
    shared, evaluation = code_of(SHARED_STAGES), code_of(TRIAL_STAGES)
    edit(copied / "tasks" / "evaluate.py")
    assert code_of(SHARED_STAGES) == shared
    assert code_of(TRIAL_STAGES) != evaluation
