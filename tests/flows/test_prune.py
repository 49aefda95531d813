"""make prune in a project with two versions, and what the weekly run removes when."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from types import SimpleNamespace

import pytest

import flows.prune as module
from tasks.core.files import read_json, write_json

DAYS_MS = 100 * 24 * 3600 * 1000
AGED = {"runs": ("start_time", "end_time"), "model_versions": ("creation_time",)}


@pytest.mark.slow
def test_an_old_version_goes_and_everything_else_works_as_before(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    client = project.mlflow()
    first = client.get_model_version("rootstock", "1")
    source = client.get_logged_model(first.source.removeprefix("models:/")).artifact_location
    client.create_model_version("rootstock", source, run_id=first.run_id, tags=first.tags)
    with closing(sqlite3.connect(project.root / ".registry" / "mlflow.db")) as database, database:
        for table, columns in AGED.items():
            for column in columns:
                database.execute(f"UPDATE {table} SET {column} = {column} - ?", (DAYS_MS,))  # noqa: S608
    shown = project.flows("prune")
    assert shown.returncode == 0, shown.stderr
    assert "rootstock 2" in shown.stdout
    assert "kept: version 1, challenger" in shown.stdout
    assert project.numbers() == [1, 2]
    done = project.flows("prune", "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("removed: 1 versions, 0 runs")
    assert project.numbers() == [1]
    picture = str(next((project.root / "data" / "raw" / "test").rglob("*.png")))
    assert "(version 1 of rootstock)" in project.flows("predict", picture, "--model", "challenger").stdout
    assert project.dvc("checkout").returncode == project.dvc("pull").returncode == 0


@pytest.fixture
def weekly(tmp_path, monkeypatch):
    """Returns a function that runs the weekly run on a day, and the IDs that its runs have removed."""
    removed = []
    params = SimpleNamespace(paths=SimpleNamespace(state=tmp_path))
    monkeypatch.setattr(module, "carry_out", lambda _params, only: removed.append(only) or ["removed"])
    monkeypatch.setattr(module, "_plan", lambda _params: SimpleNamespace(ids=lambda: {"old"}))
    monkeypatch.setattr(module, "show", lambda _params, _table: "shown")

    def run(day: float) -> str:
        monkeypatch.setattr(module.time, "time", lambda: day * module.DAY_S)
        return module._weekly(params)

    return run, removed, tmp_path / "prune.json"


def test_the_first_weekly_run_only_shows_and_the_next_week_removes_what_was_shown(weekly):
    run, removed, note = weekly
    assert "nothing was removed" in run(100)
    assert "nothing was removed" in run(101)
    assert removed == []
    assert run(107) == "removed\n\nshown"
    assert removed == [{"old"}]
    assert read_json(note)["at"] == 107 * module.DAY_S


def test_a_note_from_the_future_was_written_by_a_wrong_clock(weekly):
    run, removed, note = weekly
    write_json(note, {"at": 500 * module.DAY_S, "ids": ["old"]})
    assert "nothing was removed" in run(100)
    assert removed == []
    assert read_json(note)["at"] == 100 * module.DAY_S
