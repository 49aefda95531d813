"""Flow runs whose worker has ended, with a real Prefect server."""

from __future__ import annotations

import subprocess
import sys

from tests import session
from tests.flows.local.test_flow_runs import states
from tests.project import ROOT, environment

OPENED = """
import os, sys
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.states import Completed, Pending, Running

name, gone = sys.argv[1:]
me = str(os.getpid())
with get_client(sync_client=True) as client:
    client.create_work_pool(WorkPoolCreate(name=name, type="process"))
    deployment = client.create_deployment(client.create_flow_from_name(name), name, work_pool_name=name)
    reused = str(os.getppid())  # the number of a process that belongs to no flow run
    runs = ((Running(), reused), (Running(), f"host:{gone}"), (Pending(), None), (Completed(), gone), (Running(), me))
    for state, process in runs:
        run = client.create_flow_run_from_deployment(deployment)
        client.set_flow_run_state(run.id, state, force=True)
        client.update_flow_run(run.id, infrastructure_pid=process)
held = [sys.executable, "-c", "print('held', flush=True); input()"]
os.execve(sys.executable, held, {**os.environ, "PREFECT__FLOW_RUN_ID": str(run.id)})
"""


def test_what_has_no_process_any_more_is_ended(prefect_server, tmp_path):
    name = tmp_path.name
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    env = environment(PREFECT_API_URL=prefect_server, PREFECT_API_AUTH_STRING=session.auth_string())

    def end_abandoned() -> str:
        command = [sys.executable, "-m", "flows.local.abandoned_runs", name]
        return subprocess.run(command, cwd=ROOT, env=env, check=True, capture_output=True, text=True).stdout

    command = [sys.executable, "-c", OPENED, name, str(ended.pid)]
    with subprocess.Popen(command, cwd=ROOT, env=env, stdin=-1, stdout=-1, text=True) as held:
        assert held.stdout.readline() == "held\n"
        assert end_abandoned().count("Crashed") == 3
        assert sorted(states(prefect_server, name)) == ["Completed", "Crashed", "Crashed", "Crashed", "Running"]
        assert end_abandoned() == ""
        held.communicate("\n")
    assert end_abandoned().count("Crashed") == 1
