"""Properties of the finetune stage that hold for all or many objectives."""

from __future__ import annotations

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tasks.core.errors import ParamsError
from tasks.data.tables.copying import bring_together
from tasks.data.tables.options import TableOptions
from tasks.models.weights_file import write
from tests.drawn import write_discs
from tests.errors import raises
from tests.stages.contract import NOBODY, through_head, tuned
from tests.stages.objectives import BACKBONE_AS_TEACHER, begun, curve, killed_at, methods


@pytest.mark.parametrize(
    "objective",
    ["fixmatch", "mcc", "trades"],
)
def test_objectives_that_are_not_defined_for_regression_are_refused(paths, tmp_path, objective):
    folder = bring_together(write_discs(tmp_path / "discs"), tmp_path / "together", TableOptions(targets=("radius",)))
    paths = paths.model_copy(update={"raw": folder})
    through_head(paths)
    with raises(ParamsError, "objective"):
        tuned(paths, objective=objective)


@pytest.mark.parametrize("objective", ["fixmatch", "coral", "batchnorm", "pseudo_labels"])
def test_missing_unlabeled_images_are_an_error(paths, objective):
    begun(paths, unlabeled=False)
    with raises(ParamsError, "unlabeled-images-missing"):
        tuned(paths, objective=objective, batchnorm="training")


@pytest.mark.parametrize(
    ("objective", "changes", "last"),
    [
        ("labels", {}, 2),
        ("distillation", {"distillation": {"features": 1.0, "agreement": 1.0}}, 2),
        ("pseudo_labels", {"unlabelled": {"threshold": 0.0, "precision": 0.1, "rounds": 2}}, 3),
        ("pseudo_labels", {"unlabelled": {"threshold": 0.0, "precision": 0.1, "rounds": 2, "neighbours": 3}}, 6),
        ("fixmatch", {"unlabelled": {"threshold": 0.2, "precision": 0.0, "adaptive": True, "align": True}}, 3),
        ("dann", {}, 2),
        ("dann", {"domain": {"weights": [0.1, 1.0]}}, 7),
        ("trades", {"adversaries": {"grow": 2}}, 3),
    ],
)
def test_a_killed_run_ends_with_the_same_weights_under_every_objective(paths, monkeypatch, objective, changes, last):
    """Bitwise equality includes modules trained beside the network, thresholds, rounds and attacks."""
    begun(paths)
    write(paths.teacher, torch.load(paths.pretrained))
    teacher = BACKBONE_AS_TEACHER if objective == "distillation" else NOBODY
    options = {"objective": objective, "teacher": teacher, "methods": methods(**changes), "scratch": False}
    options["interpolation"] = [0.5, 1.0]  # only of labels
    tuned(paths, **options)
    undisturbed, rows = load_file(paths.tuned), curve(paths)
    with killed_at(monkeypatch, last):
        tuned(paths, **options)
    assert list(paths.checkpoints.rglob("*.safetensors"))
    tuned(paths, **options)
    pd.testing.assert_frame_equal(curve(paths), rows)
    for name, tensor in load_file(paths.tuned).items():
        assert torch.equal(tensor, undisturbed[name]), name
