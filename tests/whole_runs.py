"""Servers and whole runs that tests start from, built once for all workers except `served`, used by one worker."""

from __future__ import annotations

import re
import shlex
import shutil
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from flows.config.overrides import apply
from tests import session
from tests.drawn import SIDE, write_shapes
from tests.groups import group_of
from tests.project import ROOT, Project, environment, wait_until

TINY = {"architecture": "shufflenet_v2_x0_5", "resize": SIDE, "crop": SIDE}
SMALL = {
    **{f"backbone.{name}": value for name, value in TINY.items()},
    "compute.precision": "float32",
    "compute.batch": 16,
    "augment.views": 3,
    "finetune.recipe": "fixed",
    "finetune.epochs": 3,
    "finetune.batch": 8,
    "evaluate.corrupted": 6,
    "run.retries": 0,
    "gate.floors.accuracy": 0.1,
}


@pytest.fixture(scope="session")
def prefect_server() -> str:
    """Returns the URL of a real Prefect server for all tests that run flows."""
    return session.once("prefect_server", start_prefect_server)


def start_prefect_server() -> str:
    home = session.FOLDER / "prefect_server"
    home.mkdir(exist_ok=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "flows.local.temporary_server", str(port)]
    env = environment(PREFECT_HOME=str(home), PREFECT_SERVER_API_AUTH_STRING=session.auth_string())
    with (home / "server.log").open("w") as log, session.LIFELINE.open() as lifeline:
        server = subprocess.Popen(command, cwd=ROOT, env=env, stdin=lifeline, stdout=log, stderr=log)
    (session.FOLDER / "prefect_server.pid").write_text(str(server.pid))

    def healthy() -> bool:
        try:
            return urlopen(f"http://127.0.0.1:{port}/api/health", timeout=5).status == 200
        except OSError:
            return False

    wait_until(healthy)
    return f"http://127.0.0.1:{port}/api"


@contextmanager
def unchanged(project):
    """Checks that no test changes the shared project: tests that modify it or run commands in it must use a copy."""
    before = session.listing(project.root)
    yield project
    after = session.listing(project.root)
    changed = sorted({path for path, _ in before.items() ^ after.items()})
    assert not changed, f"a test changed {changed}"


def prepare(root: Path, api: str | None, source: Path, small: dict[str, object]) -> Project:
    """Creates a committed project that retrains on shapes, which are drawn in `source`, with these parameters."""
    project = Project.fresh(root, api)
    write_shapes(source, {"train": 6, "val": 3, "test": 4})
    values = {**small, "data.source": source}
    apply([part for name, value in values.items() for part in (f"--{name}", str(value))], root / "params.yaml")
    project.commit()
    return project


@pytest.fixture(scope="session")
def prepared(prefect_server: str, tiny_weights: Path):
    """Yields a committed project with drawn shapes and a tiny backbone, before any run. Read-only: copy it."""
    root, source = session.FOLDER / "prepared", session.FOLDER / "shapes"
    small = {**SMALL, "backbone.weights": tiny_weights}
    session.once("prepared", lambda: str(prepare(root, prefect_server, source, small).root))
    with unchanged(Project(root, prefect_server)) as project:
        yield project


@pytest.fixture(scope="session")
def finished(prepared):
    """Yields the same project after one retraining; `first` is its output. Read-only: copy it."""
    root = session.FOLDER / "finished"

    def finish() -> str:
        shutil.rmtree(root, ignore_errors=True)  # left behind by another worker's failed attempt
        done = prepared.copy(root).retrain()
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    first = session.once("finished", finish)
    with unchanged(Project(root, prepared.more["PREFECT_API_URL"])) as project:
        project.first = first
        yield project


SERVED: list[Project] = []  # the project whose servers are running


@pytest.fixture(scope="session")
def served(finished, tmp_path_factory: pytest.TempPathFactory):
    """Yields a finished project with servers and worker up: `addresses` by name, `env` for commands that use them."""
    worker = session.WORKER or "main"
    assert session.once("served", lambda: worker) == worker, "two workers have tests that change one project"
    project = finished.copy(tmp_path_factory.mktemp("served") / "project")
    project.more = {}
    done = project.flows("up")
    assert done.returncode == 0, done.stdout + done.stderr
    project.addresses = dict(re.findall(r"^(\w+) +(http\S+)$", done.stdout, re.MULTILINE))
    lines = shlex.split(project.flows("env").stdout)  # export NAME=value
    project.env = {"PREFECT_HOME": str(project.root / ".registry" / "prefect")}
    project.env |= dict(line.split("=", 1) for line in lines if line.startswith("PREFECT_"))
    SERVED.append(project)
    yield project
    stop_served()


def stop_served() -> None:
    while SERVED:
        SERVED.pop().flows("down", "--now")


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Stops the servers of `served` after the last test that may use them: they cost a fifth of a core."""
    if group_of(item.nodeid) == "served" and (not nextitem or group_of(nextitem.nodeid) != "served"):
        stop_served()
