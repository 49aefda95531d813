"""The Prefect worker, which runs the deployments in deploy/prefect.yaml here, and the watcher; started by make up."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO

from flows.local.environment import LOCAL_DATABASE, MAIN_CHECKOUT
from flows.local.processes import Server, started
from tasks.core.errors import RootstockError

WORKER, WATCHER, SERVE = "worker", "watcher", "serving"
POOL = "rootstock"
DEPLOY = Path("deploy")
OLD_DEPLOYMENT = "release/every-minute"  # until the watcher came
TAIL = 20  # lines of a failed command's output shown in its error


def start(prefect: dict[str, str], log: Callable[[str], IO[bytes]]) -> Server:
    """Registers the deployments with the server and starts the worker. Raises RootstockError if Prefect fails.

    `prefect` holds the variables of its clients: the address and the auth string.
    """
    env = environment(prefect)
    run_prefect(env, "work-pool", "create", POOL, "--type", "process", "--overwrite")
    run_prefect(env, "deploy", "--all", "--prefect-file", str(DEPLOY / "prefect.yaml"))
    _retire(env, OLD_DEPLOYMENT)
    with suppress(RootstockError):  # it only tidies up
        print(_run(env, "flows.local.abandoned_runs", POOL), end="")
    command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", POOL, "--type", "process"]
    return _background("retrains nightly (deploy/prefect.yaml)", command, env, log(WORKER))


def start_watcher(mlflow_url: str, login: dict[str, str], log: Callable[[str], IO[bytes]]) -> Server:
    """Starts the watcher, which answers promotion requests in MLflow; `login` is for our own MLflow server only."""
    command = [sys.executable, "-m", "flows.registry.watcher", mlflow_url]
    env = {**os.environ}
    if login and env["MLFLOW_TRACKING_URI"] == LOCAL_DATABASE:
        env.pop("MLFLOW_TRACKING_TOKEN", None)  # it would be preferred
        env |= login
    return _background("releases what is promoted in MLflow", command, env, log(WATCHER))


def start_serving(address: str, log: Callable[[str], IO[bytes]]) -> Server:
    """Starts the server that answers with the live version at this address."""
    return _background(address, [sys.executable, "-m", "flows", "serve"], {**os.environ}, log(SERVE))


def _background(what: str, command: list[str], env: dict[str, str], log: IO[bytes]) -> Server:
    """Starts a process that outlives this one, in the main checkout."""
    with log:
        process = subprocess.Popen(
            command,
            cwd=MAIN_CHECKOUT,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    return started(what, process)


def _retire(env: dict[str, str], deployment: str) -> None:
    """Deletes a deployment of an earlier version of the project, with its schedule, if the server still has it."""
    with suppress(RootstockError):
        run_prefect(env, "deployment", "delete", deployment)


def environment(prefect: dict[str, str]) -> dict[str, str]:
    """Returns the environment of the worker and its runs: API, main checkout and import path of the pull steps."""
    return {
        **os.environ,
        **prefect,
        "ROOTSTOCK_HOME": str(MAIN_CHECKOUT),
        "PYTHONPATH": str(MAIN_CHECKOUT / DEPLOY),
        "PYTHONUNBUFFERED": "1",
    }


def run_prefect(env: dict[str, str], *arguments: str) -> None:
    """Runs a `prefect` command without prompts. Raises RootstockError with the end of its output if it fails."""
    _run(env, "prefect", "--no-prompt", *arguments)


def _run(env: dict[str, str], module: str, *arguments: str) -> str:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=MAIN_CHECKOUT, env=env, capture_output=True, text=True, check=False)
    if done.returncode:
        output = "\n".join((done.stdout + done.stderr).strip().splitlines()[-TAIL:])
        raise RootstockError(f"{module} {' '.join(arguments)} failed:\n{output}", key="prefect-failed")
    return done.stdout
