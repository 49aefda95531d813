"""Every table by problem type knows every problem type."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import pytest

from tasks.core.errors import ParamsError
from tasks.core.schema import Balance
from tasks.core.target import TargetKind, TargetSpec
from tasks.training.kinds import check_balance_supported, loss_for
from tests.errors import raises

ROOT = Path(__file__).parents[2]
FEWEST = 8  # tables: fewer would mean that the search is broken
REGRESSION = TargetSpec(TargetKind.REGRESSION, targets=("w",), mean_K=(0.0,), std_K=(1.0,))
MULTILABEL = TargetSpec(TargetKind.MULTILABEL, classes=("a", "b"))


def tables_by_kind():
    """The module-level mappings of tasks/ that have a TargetKind among their keys, each under its first name."""
    files = [file for file in sorted(ROOT.glob("tasks/**/*.py")) if "TargetKind" in file.read_text()]
    modules = [import_module(".".join(file.relative_to(ROOT).with_suffix("").parts)) for file in files]
    tables = {}
    for module in modules:
        for name, value in vars(module).items():
            if isinstance(value, Mapping) and any(isinstance(key, TargetKind) for key in value):
                tables.setdefault(id(value), (f"{module.__name__}.{name}", value))
    return dict(tables.values())


def test_every_table_by_kind_has_every_kind():
    tables = tables_by_kind()
    assert len(tables) >= FEWEST
    incomplete = {name for name, table in tables.items() if set(table) != set(TargetKind)}
    assert not incomplete


@pytest.mark.parametrize("target", [REGRESSION, MULTILABEL])
def test_classes_alone_are_balanced(target):
    check_balance_supported(Balance.NONE, target)
    for balance in set(Balance) - {Balance.NONE}:
        check_balance_supported(balance, TargetSpec(classes=("a", "b")))
        with raises(ParamsError, "balance"):
            check_balance_supported(balance, target)


def test_targets_are_not_smoothed():
    with raises(ParamsError, "finetune.smoothing"):
        loss_for(REGRESSION, smoothing=0.1)
