"""make up, make down and make doctor, with the real servers, in a project of their own."""

from __future__ import annotations

import os

import psutil

from tasks.parts.files import read_json
from tests.project import wait_until


def test_down_stops_what_up_started_and_nothing_else(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    project.more = {}
    project.flows("up")
    noted = read_json(project.root / ".state" / "servers.json")
    assert project.flows("down").stdout == "stopped: worker, mlflow, prefect\n"
    wait_until(lambda: not any(psutil.pid_exists(server["pid"]) for server in noted.values()))
    assert project.flows("down").stdout == "stopped: nothing was up\n"
    stale = {"prefect": {"url": "http://127.0.0.1:1", "pid": os.getpid(), "created": 1.0}}
    (project.root / ".state" / "servers.json").write_text(__import__("json").dumps(stale))
    assert project.flows("down").stdout == "stopped: nothing was up\n"


def test_without_a_server_a_temporary_one_comes_and_goes(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    project.more = {}
    done = project.retrain()
    assert done.returncode == 0, done.stdout + done.stderr
    alive = [
        process
        for process in psutil.process_iter(["cmdline"])
        if "flows.temporary_server" in (process.info["cmdline"] or []) and process.cwd() == str(project.root)
    ]
    assert alive == []
