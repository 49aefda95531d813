"""make up, make down and make doctor, with the real servers, in a separate project."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from urllib.request import urlopen

import psutil
import pytest

from flows.local import auth, worker
from flows.local.environment import LOCAL_DATABASE
from flows.local.processes import is_alive, stop
from flows.local.servers import _auth_string, _start, free_port
from tasks.core.errors import EXIT_BROKEN, EXIT_REFUSED, EXIT_UNDECIDED, RootstockError
from tasks.core.files import read_json, write_json
from tasks.core.schema import STAGES
from tests.errors import raises
from tests.project import ROOT, Project, environment, wait_until


def test_each_server_is_one_process_and_its_command_names_no_secret(served: Project):
    servers = read_json(served.root / ".state" / "servers.json")
    lines = {name: psutil.Process(servers[name]["pid"]).cmdline()[1:] for name in ("prefect", "mlflow")}
    ports = {name: served.addresses[name].rpartition(":")[2] for name in lines}
    assert lines == {name: ["-m", "flows.local.server", name, ports[name]] for name in lines}
    assert [psutil.Process(servers[name]["pid"]).children() for name in (*lines, "worker")] == [[], [], []]


def test_a_changed_login_is_told_and_a_lost_string_is_not_replaced(monkeypatch, tmp_path):
    server = {"url": "http://127.0.0.1:1", "pid": os.getpid(), "created": 1.0, "shared": True}
    with raises(RootstockError, "up.shared"):
        _auth_string({"mlflow": server}, shared=False)
    monkeypatch.setattr(auth, "read", lambda: "rootstock:secret")
    assert _auth_string({"mlflow": server}, shared=True) == "rootstock:secret"


def test_the_watcher_logs_in_to_our_own_mlflow_only(monkeypatch):
    monkeypatch.setattr(worker, "_background", lambda _what, _command, env, _log: env)
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "theirs")
    login, mlflow = {"MLFLOW_TRACKING_PASSWORD": "ours"}, "http://127.0.0.1:5000"
    for uri, password in ((LOCAL_DATABASE, "ours"), ("https://mlflow.example", None)):
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
        env = worker.start_watcher(mlflow, login, lambda _name: None)
        assert env.get("MLFLOW_TRACKING_PASSWORD") == password
        assert ("MLFLOW_TRACKING_TOKEN" in env) == (password is None)


def test_both_servers_respond_on_loopback_and_show_the_runs_results(served: Project):
    assert all(address.startswith("http://127.0.0.1:") for address in served.addresses.values())
    assert b"MLflow" in urlopen(served.addresses["mlflow"]).read()
    assert b"Prefect" in urlopen(served.addresses["prefect"]).read()
    from mlflow import MlflowClient

    client = MlflowClient(served.addresses["mlflow"], served.addresses["mlflow"])
    shown, stored = (each.get_model_version_by_alias("rootstock", "challenger") for each in (client, served.mlflow()))
    assert int(shown.version) == int(stored.version)
    assert int(shown.version) in served.numbers()


def test_the_links_lead_to_the_model_and_to_prefect(served: Project):
    assert served.addresses["models"].endswith("/#/models/rootstock?workflowType=machine_learning")
    assert b"Prefect" in urlopen(served.addresses["prefect"]).read()


def test_starting_again_keeps_the_servers(served: Project):
    before = read_json(served.root / ".state" / "servers.json")
    done = served.flows("up")
    assert done.returncode == 0
    assert done.stdout.startswith("all servers are running already\n")
    assert read_json(served.root / ".state" / "servers.json") == before


@pytest.mark.slow
def test_up_also_serves_on_request(served: Project):
    params, port = served.root / "params.yaml", free_port(0)
    before = params.read_text()
    params.write_text(before.replace("with_up: false", "with_up: true").replace("port: 8000", f"port: {port}"))
    try:
        done = served.flows("up")
        assert f"serving     http://127.0.0.1:{port}" in done.stdout, done.stdout + done.stderr
        assert b"live" in urlopen(f"http://127.0.0.1:{port}/v2/health/live").read()
    finally:
        params.write_text(before)
        server = read_json(served.root / ".state" / "servers.json").get("serving")
        if server:
            stop(psutil.Process(server["pid"]))


def test_a_retraining_uses_the_server_that_is_up(served: Project):
    done = served.retrain()
    assert done.returncode in {0, EXIT_REFUSED, EXIT_UNDECIDED}, done.stdout + done.stderr
    assert done.stdout.count("| unchanged") >= len(STAGES)
    assert not (served.root / ".state" / "logs" / "prefect-temporary.log").exists()
    answer = urlopen(f"{served.addresses['prefect']}/api/health")
    assert answer.status == 200


def test_the_doctor_knows_them(served: Project):
    done = served.flows("doctor")
    assert f"prefect is up at {served.addresses['prefect']}" in done.stdout
    assert "ok   params.yaml is valid" in done.stdout
    assert "ok   39 images, measured: " in done.stdout
    assert "not measured yet" not in done.stdout
    assert "ok   390 images, estimated to fit" in done.stdout


def test_down_stops_what_up_started_and_nothing_else(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    project.more = {}
    project.flows("up")
    servers = read_json(project.root / ".state" / "servers.json")
    hold = "import time; from flows.local.lock import flow_lock; from pathlib import Path\n"
    hold += "with flow_lock(Path('.state'), 'retrain'): print('held', flush=True); time.sleep(15)"
    command = [sys.executable, "-c", hold]
    with subprocess.Popen(command, cwd=project.root, env=environment(), stdout=subprocess.PIPE) as flow:
        assert flow.stdout.readline() == b"held\n"
        waited = project.flows("down").stdout.splitlines()
        assert flow.poll() == 0
    assert waited[0].startswith(f"retrain (process {flow.pid}) since ")
    assert "make down ARGS=--now" in waited[0]
    assert waited[1] == "stopped: watcher, worker, mlflow, prefect"
    wait_until(lambda: not any(psutil.pid_exists(server["pid"]) for server in servers.values()))
    assert project.flows("down").stdout == "stopped: nothing was running\n"
    done = project.flows("env")
    assert (done.returncode, done.stdout) == (EXIT_BROKEN, "")
    assert done.stderr == "error: the servers do not run; start them first: make up\n"
    stale = {"prefect": {"url": "http://127.0.0.1:1", "pid": os.getpid(), "created": 1.0}}
    (project.root / ".state" / "servers.json").write_text(json.dumps(stale))
    assert project.flows("down").stdout == "stopped: nothing was running\n"


def test_an_unreachable_server_is_a_user_error(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    project.more = {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    done = project.retrain()
    assert done.returncode == EXIT_BROKEN
    assert done.stderr.splitlines()[-1].startswith("error: PREFECT_API_URL: Failed to reach API at http://127.0.0.1:9")
    assert "Traceback" not in done.stderr


def temporary_servers(project):
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if "flows.local.temporary_server" in (process.info["cmdline"] or []) and process.cwd() == str(project.root)
    ]


def test_without_a_server_a_temporary_one_comes_and_goes_and_may_be_killed(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    project.more = {}
    run, log = project.start(), project.root / "started.log"
    (first,) = wait_until(lambda: temporary_servers(project))
    wait_until(lambda: "features | unchanged" in log.read_text())
    first.kill()
    assert run.wait(200) == 0, log.read_text()
    assert "Traceback" not in log.read_text()
    assert temporary_servers(project) == []


def test_a_server_that_was_killed_comes_back_on_its_port(monkeypatch, tmp_path):
    """The worker, the watcher and running commands would not look for it on another one."""
    shutil.copy(ROOT / "params.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    url = f"http://127.0.0.1:{free_port(0)}"
    write_json(tmp_path / ".state" / "servers.json", {"mlflow": {"url": url, "pid": os.getpid(), "created": 1.0}})
    server = _start("mlflow", shared=False)
    psutil.Process(server["pid"]).kill()
    assert server["url"] == url


def test_a_clock_that_was_set_loses_no_server():
    """The kernel reports start times relative to the current clock."""
    start = psutil.Process().create_time()
    assert is_alive({"url": "", "pid": os.getpid(), "created": start + 2})
    assert not is_alive({"url": "", "pid": os.getpid(), "created": start + 3600})
