"""Deployments on a real server, run by a real worker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import datetime
from urllib.request import Request, urlopen

import pytest
from dvc.config import Config
from ruamel.yaml import YAML

from flows.local.auth import basic
from tests.project import ROOT, Project, wait_until


def request(served: Project, path: str, **body: object) -> object:
    """Returns the response of Prefect's API."""
    query = Request(
        f"{served.env['PREFECT_API_URL']}/{path}",
        json.dumps(body).encode() if body else None,
        {"Content-Type": "application/json", "Authorization": basic(served.env["PREFECT_API_AUTH_STRING"])},
    )
    return json.loads(urlopen(query, timeout=30).read())


def deployment(served: Project, name: str) -> dict[str, object]:
    return request(served, f"deployments/name/{name}")


def scheduled(served: Project, name: str) -> list[dict[str, object]]:
    filters = {
        "deployments": {"id": {"any_": [deployment(served, name)["id"]]}},
        "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}},
    }
    return request(served, "flow_runs/filter", sort="EXPECTED_START_TIME_ASC", **filters)


def test_the_night_is_scheduled_within_ninety_seconds(served):
    """With SQLAlchemy 2.1, Prefect 3.8 schedules nothing and reports no error."""
    runs = wait_until(lambda: scheduled(served, "retrain/nightly"), 90)
    start = datetime.fromisoformat(runs[0]["expected_start_time"])
    assert (start.hour, start.minute) == (3, 0)
    assert runs[0]["name"]


def test_the_form_is_typed_and_shows_params_yaml(served):
    schema = deployment(served, "retrain/on-demand")["parameter_openapi_schema"]
    epochs = schema["definitions"]["FinetuneSection"]["properties"]["epochs"]
    assert epochs["default"] == 3
    assert (epochs["type"], epochs["minimum"]) == ("integer", 0)
    assert epochs["description"]


def test_a_wrong_parameter_is_refused_before_anything_runs(served):
    done = served.prefect(
        "deployment", "run", "retrain/on-demand", "--params", '{"parameters": {"finetune": {"epochs": -1}}}'
    )
    assert done.returncode == 1
    assert "epochs" in done.stdout + done.stderr


def test_retrainings_never_collide(served):
    limits = {name: deployment(served, f"retrain/{name}") for name in ("nightly", "on-demand")}
    assert {limit["concurrency_options"]["collision_strategy"] for limit in limits.values()} == {
        "CANCEL_NEW",
        "ENQUEUE",
    }
    assert all(limit["global_concurrency_limit"]["limit"] == 1 for limit in limits.values())


def stored(served: Project) -> set[str]:
    """Returns the names of the files in DVC's cache, including temporary ones."""
    return {file.name for file in (served.root / ".dvc" / "cache").rglob("*") if file.is_file()}


@pytest.mark.slow
def test_a_deployed_retraining_works_in_a_worktree_and_leaves_uncommitted_changes_alone(served):
    params, lock = ((served.root / name).read_text() for name in ("params.yaml", "dvc.lock"))
    (served.root / "params.yaml").write_text(params + "# an uncommitted change\n")
    before, cached = served.numbers(), stored(served)
    done = served.prefect(
        "deployment", "run", "retrain/on-demand", "--watch", "--params", '{"parameters": {"evaluate": {"bins": 7}}}'
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert served.numbers() == [*before, before[-1] + 1]
    assert (served.root / "params.yaml").read_text() == params + "# an uncommitted change\n"
    assert (served.root / "dvc.lock").read_text() == lock
    (served.root / "params.yaml").write_text(params)
    newest = max(served.runs(), key=lambda run: run.info.start_time)
    assert newest.data.params["evaluate.bins"] == "7"
    assert newest.info.status == "FINISHED"
    assert "seconds/finetune" not in newest.data.metrics, "finetune was computed again"
    evaluated = len(list((served.root / "data" / "evaluate").iterdir()))
    assert 0 < len(stored(served) - cached) <= evaluated + 1, "more than the folder of evaluate was stored"


def test_each_run_has_a_separate_worktree_and_old_ones_are_removed(tmp_path):
    home = tmp_path / "home"
    project = Project(home)
    home.mkdir()
    project.git("init", "--quiet")
    (home / "file.txt").write_text("committed")
    (home / ".dvc").mkdir()
    (home / ".dvc" / ".gitignore").write_text("/config.local\n")
    (home / ".gitignore").write_text(".state\n.registry\n")
    committed = "[cache]\n    dir = ../../shared\n['remote \"team\"']\n    url = ../../storage\n"
    (home / ".dvc" / "config").write_text(committed)
    local = "[core]\n    remote = ours\n['remote \"ours\"']\n    url = s3://bucket\n    credentialpath = key.json\n"
    (home / ".dvc" / "config.local").write_text(local + "['remote \"near\"']\n    url = ../near\n")
    project.commit()
    (home / "file.txt").write_text("an uncommitted change")
    ended = home / ".state" / "worktrees" / str(2**22)
    ended.mkdir(parents=True)
    code = f"import checkout, os; print(checkout.worktree({str(home)!r})['directory'], os.getcwd())"
    env = {**os.environ, "PYTHONPATH": str(ROOT / "deploy")}
    output = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True).stdout
    place, working = output.split()
    assert place == working
    assert (home / place / "file.txt").read_text() == "committed"
    assert (home / place / ".state").resolve() == home / ".state"
    config = Config(str(home / place / ".dvc"), validate=False)
    assert config["cache"]["dir"] == str(tmp_path / "shared")
    assert config["core"]["remote"] == "ours"
    remotes = {name: remote["url"] for name, remote in config["remote"].items()}
    resolved = {"team": str(tmp_path / "storage"), "near": str(home / "near")}
    assert remotes == {"ours": "s3://bucket", "local": str(home / ".registry" / "dvc"), **resolved}
    assert config["remote"]["ours"]["credentialpath"] == str(home / ".dvc" / "key.json")
    assert not ended.exists()


def test_every_deployment_names_an_existing_flow():
    from importlib import import_module

    for entry in YAML(typ="safe").load(ROOT / "deploy" / "prefect.yaml")["deployments"]:
        module, _, name = entry["entrypoint"].rpartition(".")
        assert getattr(import_module(module), name).name == name
