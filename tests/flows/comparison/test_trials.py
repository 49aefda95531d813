"""Trials of a comparison: one table, one plot, one MLflow run with children; resumed, not repeated."""

from __future__ import annotations

import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

import pandas as pd
import psutil
import pytest
from ruamel.yaml import YAML

from flows.comparison.cell import Cell, run_stages, score_of
from flows.comparison.preparation import Trial, share_features
from flows.comparison.trials import all_trials, waves
from flows.config.parameters import RunSection, check, load
from tasks.core.errors import ParamsError, RootstockError
from tasks.core.messages import FailureMessage, ProgressMessage, RecordMessage, encode
from tasks.core.params import read_document
from tests.dask_cluster import dask_cluster
from tests.errors import raises
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
def test_a_comparison_makes_a_table_is_not_repeated_and_is_the_same_on_a_cluster(prepared, tmp_path):
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
    assert "broken on shapes, seed 0: finetune.epochs: " in again.stdout
    assert "| broken | failed | failed |" in again.stdout

    shutil.rmtree(folder)
    change(project, MODELS)
    with dask_cluster(tmp_path / "cluster") as cluster:
        spread = project.flows("compare")
        workers = [psutil.Process(worker.pid).cpu_times().children_user for worker in cluster.workers]
    assert spread.returncode == 0, spread.stdout + spread.stderr
    assert sum(workers) > 1, "the trials' stages are not the workers' children"
    assert (pd.read_csv(folder / "cells.csv")["value"] == rows["value"]).all()
    assert not [*folder.glob("cells/*/state"), *folder.glob("cells/*/order")]


def test_no_trial_runs_beside_its_teacher():
    first, second, student, other, grandchild = (
        Trial("digits", model, 0, {"teacher.weights": teacher})
        for model, teacher in (
            *(("first", None), ("second", "embedded"), ("student", "compare:second")),
            *(("other", "compare:first"), ("grandchild", "compare:student")),
        )
    )
    assert waves([first, second, student, other, grandchild]) == [[first, second], [student, other], [grandchild]]
    assert waves([]) == [[]]


def test_params_yaml_compares_what_it_names():
    params = load(ROOT / "params.yaml")
    trials = all_trials(params)
    assert len(trials) == len(params.compare.seeds) * len(params.compare.data) * len(params.compare.models)
    for trial in trials:
        assert trial.changes["seed"] == trial.seed


@pytest.mark.parametrize(
    ("changes", "key", "fact"),
    [
        ({"against": "nobody"}, "compare.against", "nobody"),
        ({"models": {"a": {"teacher.weights": "compare:b"}, "b": {}}, "against": None}, "compare.models", "compare:b"),
    ],
)
def test_a_baseline_that_is_missing_and_a_teacher_that_comes_later_are_refused(changes, key, fact):
    document = read_document(ROOT / "params.yaml")
    document["compare"].update(changes)
    with raises(ParamsError, key) as caught:
        all_trials(check(document))
    assert fact in str(caught.value)


def test_a_trial_that_exits_without_output_has_failed(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", shutil.which("false"))
    with raises(RootstockError, "stage-crashed") as caught:
        run_stages(tmp_path, ["ingest"], limits(60), print)
    assert "code 1" in str(caught.value)


def limits(timeout):
    return RunSection(timeout=timeout, stall=60, retries=0, slot=None)


def stand_in(folder, monkeypatch, script):
    """Replaces the stages with a shell script."""
    file = folder / "python"
    file.write_text(f"#!/bin/sh\n{script}")
    file.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(file))


def printing(message):
    """Returns a shell command that prints a message; a run of %s becomes the run named by the supervisor."""
    return f"printf '{encode(message).decode()}' $ROOTSTOCK_SUPERVISED"


def test_a_hanging_stage_of_a_trial_is_ended_with_all_its_processes(tmp_path, monkeypatch):
    """The first stage is computed, the second is not."""
    record, progress = RecordMessage("%s", "ingest", 1.0, 1.0, {}), ProgressMessage(1, 4, "checks")
    hang = "sleep 600 & echo $! > grandchild\nwait"
    stand_in(tmp_path, monkeypatch, f"{printing(record)}\n{printing(progress)}\n{hang}")
    shown = []
    with raises(RootstockError, "run.timeout") as caught:
        run_stages(tmp_path, ["ingest", "validate"], limits(2), shown.append)
    assert str(caught.value).startswith("validate ")
    assert shown == [progress]
    grandchild = int((tmp_path / "grandchild").read_text())
    wait_until(lambda: not is_alive(grandchild), 5)


@pytest.mark.parametrize("order", ["another", None])
def test_a_trial_that_is_not_ordered_any_more_is_ended_and_stores_nothing(tmp_path, monkeypatch, order):
    """A worker of a cluster may not hear that its command has ended, and that another one has begun."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    stand_in(tmp_path, monkeypatch, "echo $$ > stages\nsleep 600")
    (tmp_path / "order").write_text("mine")
    with ThreadPoolExecutor() as pool:
        score = pool.submit(score_of, Cell("a trial", tmp_path, "digest", "mine"))
        stages = int(wait_until(lambda: (tmp_path / "stages").exists() and (tmp_path / "stages").read_text()))
        if order:
            (tmp_path / "order").write_text(order)
        else:
            (tmp_path / "order").unlink()
        assert "has ended" in score.result(30).error
    wait_until(lambda: not is_alive(stages), 5)
    assert not (tmp_path / "result.json").exists()


def test_a_trial_reports_why_a_stage_failed(tmp_path, monkeypatch):
    failure = FailureMessage("%s", "head", "no images", "data.source", 2)
    stand_in(tmp_path, monkeypatch, f"{printing(failure)}\nexit 2")
    with raises(RootstockError, "data.source") as caught:
        run_stages(tmp_path, ["head"], limits(60), print)
    assert str(caught.value) == "head: no images"
    stand_in(tmp_path, monkeypatch, "echo a traceback\nexit 2")
    with raises(RootstockError, "stage-crashed") as caught:
        run_stages(tmp_path, ["head"], limits(60), print)
    assert str(caught.value) == "a traceback"


def test_a_link_to_the_store_of_a_moved_checkout_is_recreated(tmp_path):
    params = load(ROOT / "params.yaml")
    params = params.model_copy(update={"paths": params.paths.model_copy(update={"state": tmp_path / "here"})})
    link = tmp_path / "a trial" / "state" / params.paths.feature_store.name
    link.parent.mkdir(parents=True)
    link.symlink_to(tmp_path / "there")
    share_features(tmp_path / "a trial" / "state", params)
    assert link.resolve() == params.paths.feature_store.resolve()
