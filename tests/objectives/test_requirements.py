"""What has no meaning for the images is told from the manifest alone."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.core.errors import ParamsError
from tasks.core.objective_sections import Objective
from tasks.core.schema import HAS, TARGET, Column, Split
from tasks.core.target import TargetKind, TargetSpec
from tasks.objectives.requirements import check_objective_supported


def manifest(*splits: Split, **more: object) -> pd.DataFrame:
    rows = pd.DataFrame({Column.SPLIT: [split.value for split in splits], Column.LABEL: "a", Column.QUARANTINE: None})
    return rows.assign(**more)


LABELLED = (Split.TRAIN, Split.VALIDATION, Split.TEST)
BOTH = (*LABELLED, Split.UNLABELED)
TARGETS, SEVERAL = {f"{TARGET}height": 1.0}, {f"{HAS}a": 1.0}
CLASSES = TargetSpec(classes=("a", "b"))
LABELS = TargetSpec(TargetKind.MULTILABEL, classes=("a", "b", "c"))
HEIGHT = TargetSpec(TargetKind.REGRESSION, targets=("height",), mean_K=(0.0,), std_K=(1.0,))


@pytest.mark.parametrize("objective", list(Objective))
def test_classes_and_unlabelled_images_suit_every_objective(objective):
    check_objective_supported(objective, manifest(*BOTH), CLASSES)


@pytest.mark.parametrize("objective", ["pseudo_labels", "fixmatch", "batchnorm", "coral", "dann", "mcc"])
def test_objectives_that_need_unlabelled_images_say_so(objective):
    with pytest.raises(ParamsError, match="unlabelled/"):
        check_objective_supported(Objective(objective), manifest(*LABELLED), CLASSES)
    quarantined = manifest(*BOTH, **{Column.QUARANTINE: [None, None, None, "broken"]})
    with pytest.raises(ParamsError, match="unlabelled/"):
        check_objective_supported(Objective(objective), quarantined, CLASSES)


@pytest.mark.parametrize("objective", ["labels", "distillation", "pgd", "fast", "trades"])
def test_others_need_none(objective):
    check_objective_supported(Objective(objective), manifest(*LABELLED), CLASSES)


@pytest.mark.parametrize(
    ("target", "objective"),
    [(HEIGHT, "fixmatch"), (HEIGHT, "trades"), (LABELS, "mcc"), (LABELS, "coral")],
)
def test_what_has_no_meaning_is_refused(target, objective):
    with pytest.raises(ParamsError, match=f"{objective} has no meaning for {target.summary}"):
        check_objective_supported(Objective(objective), manifest(*BOTH), target)
