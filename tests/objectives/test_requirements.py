"""Objectives that do not fit the data are refused from the manifest alone."""

from __future__ import annotations

import sys

import pandas as pd
import pytest

from tasks.core.errors import ParamsError
from tasks.core.objective_sections import Objective, UnlabeledSection
from tasks.core.schema import HAS, TARGET, Column, Split
from tasks.core.target import TargetKind, TargetSpec
from tasks.objectives.requirements import check_objective_supported, check_search_installed
from tests.errors import raises
from tests.stages.contract import METHODS


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


def test_an_index_that_is_not_installed_is_an_error_with_the_remedy(monkeypatch):
    def check(objective, **changes):
        check_search_installed(objective, UnlabeledSection(**{**METHODS["unlabelled"], **changes}))

    requested = {"neighbours": 10, "search": "index"}
    check(Objective.PSEUDO_LABELS, **requested)
    monkeypatch.setitem(sys.modules, "voyager", None)  # Python's marker for a package that must not be imported
    check(Objective.FIXMATCH, **requested)
    check(Objective.PSEUDO_LABELS, **requested | {"neighbours": 0})
    check(Objective.PSEUDO_LABELS, **requested | {"search": "exact"})
    with raises(ParamsError, "neighbors-not-installed") as caught:
        check(Objective.PSEUDO_LABELS, **requested)
    for part in ("unlabelled.search", "voyager", "make neighbors"):
        assert part in str(caught.value)
