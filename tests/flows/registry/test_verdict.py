"""The verdict of a retraining: in the version's tags, in the table and in the exit code."""

from __future__ import annotations

import shutil
from pathlib import Path

import mlflow
import pytest

from flows.config import parameters
from flows.local.relocation import relocate
from flows.registry.aliases import CHAMPION, LIVE
from flows.registry.ledger_lines import Event
from flows.registry.model_card import write_card
from flows.registry.promotion import reconcile
from flows.registry.store import client
from flows.registry.tags import Tag
from flows.registry.verdict import Judgement, judge
from tasks.core.errors import EXIT_REFUSED, EXIT_UNDECIDED, RootstockError
from tasks.core.files import read_json
from tasks.core.target import TargetSpec
from tasks.gate.checks import Check, Verdict, overall
from tests.errors import raises
from tests.project import Project, run_python


@pytest.fixture(autouse=True)
def _left_as_it_was():
    before = mlflow.get_tracking_uri()
    yield
    mlflow.set_tracking_uri(before)


@pytest.fixture
def project(finished, tmp_path) -> Project:
    return finished.copy(tmp_path / "project")


def tags(project: Project, version: int) -> dict[str, str]:
    return project.mlflow().get_model_version("rootstock", str(version)).tags


def verdict(project: Project, version: int) -> dict[str, object]:
    registered = project.mlflow().get_model_version("rootstock", str(version))
    folder = project.mlflow().download_artifacts(registered.run_id, "verdict")
    return read_json(Path(folder) / "verdict.json")


def test_without_a_live_model_the_floors_alone_count(finished):
    assert tags(finished, 1)[Tag.VERDICT] == "pass"
    assert tags(finished, 1)[Tag.VERDICT_AGAINST] == "none"
    assert "no version is live yet" in tags(finished, 1)[Tag.VERDICT_WHY]
    assert "verdict     pass" in finished.first


def test_notes_are_shown_beside_what_decides():
    check, note = Check("accuracy", "0.9", "0.8", Verdict.PASS), Check("small groups", "a", "9 each", Verdict.NOTE)
    assert overall([check, note]) is Verdict.PASS
    assert Judgement(Verdict.PASS, "1", (check, note)).why() == (
        "accuracy: 0.9 (required: 0.8); small groups: a (required: 9 each)"
    )
    assert "| small groups | a | 9 each | note |" in Judgement(Verdict.PASS, "1", (check, note)).markdown()


@pytest.mark.slow
def test_a_floor_that_is_not_reached_refuses_though_nothing_was_computed(project):
    before = project.reports()
    done = project.retrain("--gate.floors.accuracy", "1.01")
    assert done.returncode == EXIT_REFUSED, done.stdout + done.stderr
    assert project.reports() == before
    assert project.numbers() == [1]
    assert tags(project, 1)[Tag.VERDICT] == "refused"
    assert "accuracy on test" in tags(project, 1)[Tag.VERDICT_WHY]
    description = project.mlflow().get_model_version("rootstock", "1").description
    assert "May it go live? refused" in description
    assert project.retrain("--gate.floors.accuracy", "0.1").returncode == 0
    assert tags(project, 1)[Tag.VERDICT] == "pass"


def test_a_new_version_is_compared_with_the_live_one_on_the_same_images(project):
    """Two equal models on twelve images are undecided; with a margin that twelve images can resolve, it passes."""
    project.mlflow().set_registered_model_alias("rootstock", LIVE, "1")
    done = project.retrain("--evaluate.bins", "7")
    assert done.returncode == EXIT_UNDECIDED, done.stdout + done.stderr
    assert project.numbers() == [1, 2]
    assert tags(project, 2)[Tag.VERDICT_AGAINST] == "1"
    checks = verdict(project, 2)["checks"]
    by_what = {check["what"]: check for check in checks}
    assert by_what["accuracy against live, 12 images"]["found"].startswith("+0.0000")
    assert by_what["test images"]["wanted"] == "268 for an equal model to pass"
    assert by_what["groups of fewer than 6 test images"]["found"].endswith("(4) cannot be refused by themselves")
    assert "groups of fewer than 6 test images: class bar (4), " in tags(project, 2)[Tag.VERDICT_WHY]
    done = project.retrain("--gate.margin", "0.5")
    assert done.returncode == 0, done.stdout + done.stderr
    assert tags(project, 2)[Tag.VERDICT] == "pass"
    assert project.numbers() == [1, 2]


def test_a_run_that_mlflow_has_removed_breaks_neither_gate_nor_card_nor_release(project, monkeypatch, tmp_path):
    uri = f"sqlite:///{project.root}/.registry/mlflow.db"
    monkeypatch.chdir(project.root)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    relocate(project.root / ".registry", project.root / ".registry" / "mlflow.db")
    params, tracker = parameters.load(), client()
    live = tracker.get_model_version("rootstock", "1")
    other = tracker.create_model_version("rootstock", str(tmp_path), run_id=live.run_id)
    tracker.set_registered_model_alias("rootstock", LIVE, "1")
    tracker.delete_run(live.run_id)
    gc = ["-m", "mlflow", "gc", "--backend-store-uri", uri]
    done = run_python(project.root, *gc, MLFLOW_TRACKING_URI=uri)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(project.root / ".registry" / "artifacts")
    ledger = tmp_path / "ledger.jsonl"
    judgement = judge(other, params.gate, params.evaluate.slices, params.paths, ledger)
    assert judgement.verdict == Verdict.UNDECIDED
    assert "version 1 of rootstock cannot be loaded" in judgement.why()
    assert tracker.get_model_version("rootstock", "2").tags[Tag.VERDICT] == "undecided"
    assert write_card(live, TargetSpec.load(params.paths.task).kind) == live.description
    with raises(RootstockError, "live-unrecorded"):  # its record went with its run, and the ledger is a new one
        reconcile("rootstock", person_decides=False, ledger_file=ledger)
    tracker.delete_registered_model_alias("rootstock", LIVE)
    tracker.set_registered_model_alias("rootstock", CHAMPION, "2")
    (entry,) = reconcile("rootstock", person_decides=False, ledger_file=ledger)
    assert entry["event"] == Event.REFUSED


@pytest.mark.slow
def test_what_is_live_is_not_compared_with_itself(project):
    project.mlflow().set_registered_model_alias("rootstock", LIVE, "1")
    done = project.retrain()
    assert "version 1 is live itself" in done.stdout
    assert done.returncode == 0


@pytest.mark.slow
@pytest.mark.parametrize(("metric", "code"), [("macro_f1", 0), ("nll", EXIT_UNDECIDED)])
def test_other_metrics_are_compared_by_their_mean_gain(project, metric, code):
    """For NLL, twelve images hold too few wrong ones."""
    project.mlflow().set_registered_model_alias("rootstock", LIVE, "1")
    done = project.retrain("--evaluate.bins", "7", "--gate.metric", metric, "--gate.margin", "0.5")
    assert done.returncode == code, done.stdout + done.stderr
    assert f"{metric} against live, 12 images: +0.0000" in done.stdout
