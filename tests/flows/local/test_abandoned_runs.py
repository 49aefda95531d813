"""Flow runs whose worker has ended, with a real Prefect server."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests import session
from tests.flows.local.test_flow_runs import states
from tests.project import ROOT, environment

OPENED = """
import sys
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.states import Completed, Pending, Running

name, alive, gone = sys.argv[1:]
with get_client(sync_client=True) as client:
    client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    deployment = client.create_deployment(client.create_flow_from_name(name), name, work_pool_name=name)
    runs = ((Running(), alive), (Running(), f"host:{gone}"), (Pending(), None), (Completed(), gone))
    for state, process in runs:
        run = client.create_flow_run_from_deployment(deployment)
        client.set_flow_run_state(run.id, state, force=True)
        client.update_flow_run(run.id, infrastructure_pid=process)
"""


@pytest.fixture
def process():
    """Yields a process that looks like a flow run's."""
    with subprocess.Popen([sys.executable, "-c", "input()", "-m", "prefect.engine"], stdin=-1) as running:
        yield running
        running.kill()


def test_what_has_no_process_any_more_is_ended(prefect_server, tmp_path, process):
    name = tmp_path.name
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()

    def run(*arguments: str) -> str:
        env = environment(PREFECT_API_URL=prefect_server, PREFECT_API_AUTH_STRING=session.auth_string())
        return subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, env=env, check=True, capture_output=True, text=True
        ).stdout

    run("-c", OPENED, name, str(process.pid), str(ended.pid))
    assert run("-m", "flows.local.abandoned_runs", name).count("Crashed") == 2
    assert sorted(states(prefect_server, name)) == ["Completed", "Crashed", "Crashed", "Running"]
    assert run("-m", "flows.local.abandoned_runs", name) == ""
