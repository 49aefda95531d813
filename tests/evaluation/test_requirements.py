from __future__ import annotations

import sys

from tasks.core.errors import ParamsError
from tasks.core.target import TargetKind
from tasks.evaluation.requirements import check_attacks_installed, check_attacks_supported
from tests.errors import raises


def test_attacks_support_classification_only():
    check_attacks_supported(10, TargetKind.CLASSIFICATION)
    for kind in (TargetKind.MULTILABEL, TargetKind.REGRESSION):
        check_attacks_supported(0, kind)
        with raises(ParamsError, "evaluate.attacked"):
            check_attacks_supported(10, kind)


def test_attacks_that_are_not_installed_are_an_error_with_the_remedy(monkeypatch):
    check_attacks_installed(10)
    monkeypatch.setitem(sys.modules, "art", None)  # Python's marker for a package that must not be imported
    check_attacks_installed(0)
    for check in (check_attacks_installed, lambda count: check_attacks_supported(count, TargetKind.CLASSIFICATION)):
        with raises(ParamsError, "attacks-not-installed") as caught:
            check(10)
        for part in ("evaluate.attacked", "adversarial-robustness-toolbox", "make attacks"):
            assert part in str(caught.value)
