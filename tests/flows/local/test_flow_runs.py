"""A flow whose process is killed, with a real Prefect server."""

from __future__ import annotations

import subprocess
import sys

import httpx

from tests import session
from tests.project import ROOT, environment

FLOW = """
import sys
from pathlib import Path
from prefect import flow
from flows.local.flow_runs import end_leftover

@flow(name=sys.argv[1])
def held():
    end_leftover(Path(sys.argv[2]))
    print("in", flush=True)
    input()

held()
"""


def states(api: str, flow: str) -> list[str]:
    """Returns the states of a flow's runs, oldest first."""
    asked = {"flows": {"name": {"any_": [flow]}}, "sort": "START_TIME_ASC"}
    user, _, password = session.auth_string().partition(":")
    answer = httpx.post(f"{api}/flow_runs/filter", json=asked, auth=(user, password))
    return [run["state"]["name"] for run in answer.json()]


def start(api: str, flow: str, folder) -> subprocess.Popen[str]:
    env = environment(PREFECT_API_URL=api, PREFECT_API_AUTH_STRING=session.auth_string())
    command = [sys.executable, "-c", FLOW, flow, str(folder)]
    process = subprocess.Popen(command, cwd=ROOT, env=env, stdin=-1, stdout=-1, stderr=-1, text=True)
    assert "in\n" in iter(process.stdout.readline, "")
    return process


def test_the_next_flow_ends_the_run_of_a_killed_process_and_no_other(prefect_server, tmp_path):
    name = tmp_path.name
    killed, other = start(prefect_server, name, tmp_path / "a"), start(prefect_server, name, tmp_path / "b")
    killed.kill()
    killed.wait()
    assert states(prefect_server, name) == ["Running", "Running"]
    last = start(prefect_server, name, tmp_path / "a")
    assert states(prefect_server, name) == ["Crashed", "Running", "Running"]
    (tmp_path / "a" / "flow_run.json").write_text("{")  # damaged
    for process in (last, other):
        process.communicate("", timeout=60)
    start(prefect_server, name, tmp_path / "a").communicate("\n", timeout=60)
    assert states(prefect_server, name)[0] == "Crashed"
