from __future__ import annotations

import json
from pathlib import Path

import pytest

from flows.config.parameters import load
from flows.registry.run_summary import columns_of, result_rows, text_table
from tasks.core.target import TargetKind
from tests.project import ROOT


def write_scores(folder: Path) -> None:
    """Writes metrics.json of two classifiers."""
    scored = {name: {"value": 0.9} for name in ("accuracy", "macro_f1", "ece")}
    scored["accuracy"] |= {"low": 0.8, "high": 0.95}
    (folder / "metrics.json").write_text(json.dumps({"from scratch": scored, "fine-tuned": scored}))


def test_unmeasured_seconds_are_left_out_of_a_runs_summary(tmp_path):
    paths = load(ROOT / "params.yaml").paths.model_copy(update={"evaluate": tmp_path})
    write_scores(tmp_path)
    rows = result_rows(paths, TargetKind.CLASSIFICATION, {"finetune/seconds_scratch": 3.21, "seconds/head": 1.0})
    assert [row[-1] for row in rows] == ["3.2", "not computed now"]
    assert rows[0][:3] == ["from scratch", "90.0%", "80.0% to 95.0%"]
    assert text_table(("a", "bb"), [["x", "y"]]) == "a  bb\nx  y"


@pytest.mark.parametrize("width", [50, 60, 79])
def test_a_table_is_folded_to_a_narrow_terminal(width, tmp_path):
    write_scores(tmp_path)
    paths = load(ROOT / "params.yaml").paths.model_copy(update={"evaluate": tmp_path})
    rows = [["frozen + head", "96.1%", "94.5% to 97.2%", "0.961", "0.016", "not computed now"]]
    columns = columns_of(paths, TargetKind.CLASSIFICATION)
    text = text_table(columns, rows, width)
    assert max(map(len, text.splitlines())) <= width
    assert {word for cell in (*columns, *rows[0]) for word in cell.split()} <= set(text.split())
    assert text_table(columns, rows, 300) == text_table(columns, rows)
