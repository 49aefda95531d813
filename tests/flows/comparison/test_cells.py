"""Models on data sets by seeds: one table, one picture, one MLflow run with children; resumed, not repeated."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from flows.compare import interval, share_features, summary
from flows.comparison.cells import Score, cells, run, table
from flows.config.parameters import check, load
from tasks.core.errors import ParamsError, RootstockError
from tasks.core.messages import FailureMessage, ProgressMessage, RecordMessage, encode
from tasks.core.params import read_document
from tests.project import ROOT, is_alive, wait_until


def change(project, models, data=None, against="probe", seeds=(0,)):
    file = project.root / "params.yaml"
    document = read_document(file)
    document["compare"]["models"] = models
    document["compare"]["against"] = against
    document["compare"]["seeds"] = list(seeds)
    document["compare"]["data"] = data or {"shapes": {"data.source": document["data"]["source"]}}
    with file.open("w") as out:
        YAML().dump(document, out)


MODELS = {
    "probe": {"finetune.epochs": 0, "scratch.run": False},
    "taught": {"objective": "distillation", "teacher.weights": "compare:probe", "scratch.run": False},
}


@pytest.mark.slow
def test_a_comparison_makes_a_table_and_is_not_repeated(prepared, tmp_path):
    project = prepared.copy(tmp_path / "project")
    change(project, MODELS)
    done = project.flows("compare")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| model | shapes, accuracy | gain over probe |" in done.stdout
    folder = project.root / ".state" / "compare"
    rows = pd.read_csv(folder / "cells.csv")
    assert len(rows) == 2
    assert rows["value"].between(0, 1).all()
    assert (rows[["seconds", "cpu_seconds"]] > 0).all().all()
    assert (folder / "compare.png").exists()
    runs = project.runs()
    parents = [run for run in runs if run.info.run_name.startswith("compare ")]
    children = [run for run in runs if run.data.tags.get("mlflow.parentRunId") == parents[0].info.run_id]
    assert (len(parents), len(children)) == (1, 2)
    assert all("accuracy" in run.data.metrics for run in children)

    change(project, {**MODELS, "broken": {"head.kind": "knn"}})
    again = project.flows("compare")
    assert again.returncode == 1
    assert again.stdout.count("as before") == 2
    assert "broken on shapes, seed 0: a knn head has nothing to fine-tune" in again.stdout
    assert "| broken | failed | failed |" in again.stdout


def test_params_yaml_compares_what_it_names():
    params = load(ROOT / "params.yaml")
    found = cells(params)
    assert len(found) == len(params.compare.seeds) * len(params.compare.data) * len(params.compare.models)
    for cell in found:
        assert cell.changes["seed"] == cell.seed


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"against": "nobody"}, "there is no model nobody"),
        ({"models": {"a": {"teacher.weights": "compare:b"}, "b": {}}, "against": None}, "must stand before it"),
    ],
)
def test_what_cannot_be_compared_is_told(changes, message):
    document = read_document(ROOT / "params.yaml")
    document["compare"].update(changes)
    with pytest.raises(ParamsError, match=message):
        cells(check(document))


def test_gains_are_paired_by_seed():
    params = load(ROOT / "params.yaml")
    wanted = [cell for cell in cells(params) if cell.model in {"fine-tuned", "from scratch"}]
    values = {"fine-tuned": [0.9, 0.8, 0.7], "from scratch": [0.8, 0.7, 0.6]}
    found = {
        cell: Score("accuracy", values[cell.model][params.compare.seeds.index(cell.seed)], 2.0, 3.0) for cell in wanted
    }
    columns, rows = summary(table(found), "fine-tuned")
    by_name = {row[0]: dict(zip(columns, row, strict=True)) for row in rows}
    assert by_name["from scratch"]["gain over fine-tuned"] == "-10.0 ± 0.0"
    assert by_name["fine-tuned"]["digits, accuracy"] == interval(np.array(values["fine-tuned"]))
    assert by_name["fine-tuned"]["CPU-seconds"] == "3"
    assert interval(np.array([np.nan])) == "failed"
    assert interval(np.array([0.5])) == "50.0"


def test_a_cell_that_ends_without_a_word_has_failed_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with pytest.raises(RootstockError, match="ended with code 1 and without a word"):
        run(tmp_path, ["ingest"], 60, print)


def stand_in(folder, monkeypatch, script):
    """A shell script that runs in the place of the stages."""
    file = folder / "python"
    file.write_text(f"#!/bin/sh\n{script}")
    file.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(file))


def printing(message):
    """A shell command that prints a message; where its run is %s, it is the one that the supervisor named."""
    return f"printf '{encode(message).decode()}' $ROOTSTOCK_SUPERVISED"


def test_a_stage_of_a_cell_that_hangs_is_ended_with_all_that_it_started(tmp_path, monkeypatch):
    """The first stage is computed, the second one is not."""
    record, progress = RecordMessage("%s", "ingest", 1.0, 1.0, {}), ProgressMessage(1, 4, "checks")
    hang = "sleep 600 & echo $! > grandchild\nwait"
    stand_in(tmp_path, monkeypatch, f"{printing(record)}\n{printing(progress)}\n{hang}")
    shown = []
    with pytest.raises(RootstockError, match=r"validate took longer than 2 seconds \(run\.timeout\) and was ended"):
        run(tmp_path, ["ingest", "validate"], 2, shown.append)
    assert shown == [progress]
    grandchild = int((tmp_path / "grandchild").read_text())
    wait_until(lambda: not is_alive(grandchild), 5)


def test_a_cell_says_why_a_stage_failed(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, f"{printing(FailureMessage('%s', 'head', 'no images', 2))}\nexit 2")
    with pytest.raises(RootstockError, match=r"^head: no images$"):
        run(tmp_path, ["head"], 60, print)
    stand_in(tmp_path, monkeypatch, "echo a traceback\nexit 2")
    with pytest.raises(RootstockError, match=r"^a traceback$"):
        run(tmp_path, ["head"], 60, print)


def test_a_link_to_the_store_of_a_checkout_that_moved_is_made_anew(tmp_path):
    params = load(ROOT / "params.yaml")
    params = params.model_copy(update={"paths": params.paths.model_copy(update={"state": tmp_path / "here"})})
    link = tmp_path / "compare" / "state" / params.paths.feature_store.name
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "there")
    share_features(tmp_path / "compare", params)
    assert link.resolve() == params.paths.feature_store.resolve()
