from __future__ import annotations

import sys

import pytest

from tasks.core.errors import ParamsError
from tasks.core.target import TargetKind
from tasks.evaluation.requirements import check_attacks_installed, check_attacks_supported


def test_attacks_are_for_one_class_an_image():
    check_attacks_supported(10, TargetKind.CLASSIFICATION)
    for kind in (TargetKind.MULTILABEL, TargetKind.REGRESSION):
        check_attacks_supported(0, kind)
        with pytest.raises(ParamsError, match="attacked"):
            check_attacks_supported(10, kind)


def test_attacks_that_are_not_installed_are_told_with_the_remedy(monkeypatch):
    check_attacks_installed(10)
    monkeypatch.setitem(sys.modules, "art", None)  # as Python has it for a package that must not be imported
    check_attacks_installed(0)
    message = r"^evaluate\.attacked: the package adversarial-robustness-toolbox is not installed; run make attacks"
    with pytest.raises(ParamsError, match=message):
        check_attacks_installed(10)
    with pytest.raises(ParamsError, match=message):
        check_attacks_supported(10, TargetKind.CLASSIFICATION)
