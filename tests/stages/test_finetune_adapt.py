"""The finetune stage with adaptation to the unlabeled images' domain."""

from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from tasks.core.errors import ParamsError
from tasks.core.schema import Curve, Split
from tests.errors import raises
from tests.stages.contract import tuned
from tests.stages.objectives import begun, context_of, curve, methods


@pytest.mark.parametrize("objective", ["coral", "dann", "mcc"])
def test_adaptation_is_chosen_without_the_targets_labels(paths, objective):
    """The validator's loss decides; the test images' labels are used only in columns of the report."""
    begun(paths)
    sections = methods(domain={"weights": [0.1, 1.0], "oracle": True})
    report = tuned(paths, objective=objective, methods=sections, scratch=False)
    rows = curve(paths)
    assert report.best_epoch == rows[Curve.EPOCH].iloc[rows[Curve.VALIDATION_LOSS].argmin()]
    assert report.more["weight"] in {0.1, 1.0}
    assert report.more["oracle_score"] == pytest.approx(rows[Curve.TARGET_SCORE].max())
    assert report.more["oracle_score"] >= report.more[Curve.TARGET_SCORE]
    blind = tuned(paths, objective=objective, methods=methods(domain={"weights": [0.1, 1.0]}), scratch=False)
    assert (blind.best_epoch, blind.more["weight"]) == (report.best_epoch, report.more["weight"])
    assert not any("auxiliary" in name for name in load_file(paths.tuned))


def test_batchnorm_is_re_estimated_on_the_target(paths):
    """Only blocks that learned their statistics are re-estimated; the initial model learned none."""
    begun(paths)
    how = {"scratch": False, "batchnorm": "training", "blocks": 2, "epochs": 6, "rate": 0.01}
    report = tuned(paths, objective="batchnorm", **how)
    assert report.best_epoch > 0
    came, now = torch.load(paths.pretrained), load_file(paths.tuned)
    names = [name for name in came if f"backbone.{name}" in now]
    moved = {name for name in names if not torch.equal(came[name].float(), now[f"backbone.{name}"].float())}
    assert {name.split(".")[0] for name in moved} == {"conv5", "stage4"}
    seen = [now[f"backbone.{name}"] for name in moved if name.endswith("num_batches_tracked")]
    assert len(seen) == report.more["batchnorm_layers"]
    context = context_of(paths)
    assert set(map(int, seen)) == {len(context.clean_batches(context.data.rows(Split.UNLABELED)))}


def test_statistics_that_no_block_learned_are_not_re_estimated(paths):
    begun(paths)
    with pytest.raises(ValueError, match=r"set finetune\.batchnorm to training"):
        tuned(paths, objective="batchnorm", scratch=False)
    with raises(ParamsError, "objective"):
        tuned(paths, objective="batchnorm", scratch=False, batchnorm="training", blocks=0)
