"""Objectives that do not fit the data are refused from the manifest alone."""

from __future__ import annotations

import pandas as pd
import pytest

from tasks.core.errors import ParamsError
from tasks.core.objective_sections import Objective
from tasks.core.schema import HAS, TARGET, Column, Split
from tasks.core.target import TargetKind, TargetSpec
from tasks.objectives.requirements import check_objective_supported
from tests.errors import raises


def manifest(*splits: Split, **more: object) -> pd.DataFrame:
    rows = pd.DataFrame({Column.SPLIT: [split.value for split in splits], Column.LABEL: "a", Column.QUARANTINE: None})
    return rows.assign(**more)


LABELED = (Split.TRAIN, Split.VALIDATION, Split.TEST)
BOTH = (*LABELED, Split.UNLABELED)
TARGETS, SEVERAL = {f"{TARGET}height": 1.0}, {f"{HAS}a": 1.0}
CLASSES = TargetSpec(classes=("a", "b"))
LABELS = TargetSpec(TargetKind.MULTILABEL, classes=("a", "b", "c"))
HEIGHT = TargetSpec(TargetKind.REGRESSION, targets=("height",), mean_K=(0.0,), std_K=(1.0,))


@pytest.mark.parametrize("objective", list(Objective))
def test_classes_and_unlabeled_images_suit_every_objective(objective):
    check_objective_supported(objective, manifest(*BOTH), CLASSES)


@pytest.mark.parametrize("objective", ["pseudo_labels", "fixmatch", "batchnorm", "coral", "dann", "mcc"])
def test_objectives_that_need_unlabeled_images_are_refused_without(objective):
    with raises(ParamsError, "unlabeled-images-missing"):
        check_objective_supported(Objective(objective), manifest(*LABELED), CLASSES)
    quarantined = manifest(*BOTH, **{Column.QUARANTINE: [None, None, None, "broken"]})
    with raises(ParamsError, "unlabeled-images-missing"):
        check_objective_supported(Objective(objective), quarantined, CLASSES)


@pytest.mark.parametrize("objective", ["labels", "distillation", "pgd", "fast", "trades"])
def test_other_objectives_need_no_unlabeled_images(objective):
    check_objective_supported(Objective(objective), manifest(*LABELED), CLASSES)


@pytest.mark.parametrize(
    ("target", "objective"),
    [(HEIGHT, "fixmatch"), (HEIGHT, "trades"), (LABELS, "mcc"), (LABELS, "coral")],
)
def test_undefined_combinations_are_refused(target, objective):
    with raises(ParamsError, "objective"):
        check_objective_supported(Objective(objective), manifest(*BOTH), target)
