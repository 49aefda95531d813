"""The worker that runs deployments on this machine: registered from deploy/prefect.yaml, started by make up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, TypedDict

import psutil

from flows.local.environment import HOME
from tasks.core.errors import RootstockError

WORKER = "worker"
POOL = "rootstock"
DEPLOY = Path("deploy")
TAIL = 20  # lines that are shown of a command that failed


class Server(TypedDict):
    """A process that was started: where it answers or what it does, and which process it is."""

    url: str
    pid: int
    created: float


def started(url: str, process: subprocess.Popen[bytes]) -> Server:
    """What is noted of a process."""
    return {"url": url, "pid": process.pid, "created": psutil.Process(process.pid).create_time()}


def start(prefect_url: str, log: Callable[[str], IO[bytes]]) -> Server:
    """Registers the deployments with the server, and starts the worker. Raises RootstockError with what went wrong."""
    env = environment(f"{prefect_url}/api")
    run_prefect(env, "work-pool", "create", POOL, "--type", "process", "--overwrite")
    run_prefect(env, "deploy", "--all", "--prefect-file", str(DEPLOY / "prefect.yaml"))
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    with log(WORKER) as output:
        process = subprocess.Popen(
            command, cwd=HOME, env=env, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True
        )
    return started("retrains nightly, releases every minute (deploy/prefect.yaml)", process)


def environment(api: str) -> dict[str, str]:
    """What the worker and its runs need to know: the server, the main checkout, and where the pull steps are."""
    return {
        **os.environ,
        "PREFECT_API_URL": api,
        "ROOTSTOCK_HOME": str(HOME),
        "PYTHONPATH": str(HOME / DEPLOY),
        "PYTHONUNBUFFERED": "1",
    }


def run_prefect(env: dict[str, str], *arguments: str) -> None:
    """A command of Prefect's, without questions. Raises RootstockError with its last lines if it fails."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", *arguments]
    done = subprocess.run(command, cwd=HOME, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        told = "\n".join((done.stdout + done.stderr).strip().splitlines()[-TAIL:])
        raise RootstockError(f"prefect {' '.join(arguments)} failed:\n{told}")
