"""Prefect's and MLflow's servers on loopback: long-lived (make up, make down), or a temporary one for a single flow."""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from http import HTTPStatus
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

import psutil
from filelock import FileLock

from flows.local import worker
from flows.local.environment import OWN_DATABASE, REGISTRY
from flows.local.worker import WORKER, Server, started
from tasks.core.errors import RootstockError
from tasks.core.files import read_json, write_json
from tasks.core.paths import PathsParams

HOST = "127.0.0.1"
PORTS = {"prefect": 4200, "mlflow": 5000}
HEALTH = {"prefect": "/api/health", "mlflow": "/health"}
START_SECONDS = 120.0
STOP_SECONDS = 15.0
CLOCK = 60.0  # seconds that setting the clock may move a process's beginning by


def up() -> dict[str, str]:
    """Starts what is not up: the servers, and a worker for the deployments; where each is, by name.

    Raises RootstockError if one does not answer, or if the deployments cannot be registered.
    """
    with FileLock(Path(tempfile.gettempdir()) / f"rootstock-up-{os.getuid()}.lock"):  # two at once would take one port
        return _up()


def _up() -> dict[str, str]:
    found = running()
    missing = [name for name in PORTS if name not in found]
    for name in missing:
        found[name] = _start(name)
        write_json(_file(), found)
    for name in missing:
        _await(name, found[name])
    if WORKER not in found:
        found[WORKER] = worker.start(found["prefect"]["url"], _log)
        write_json(_file(), found)
    return {name: server["url"] for name, server in found.items()}


def down() -> list[str]:
    """Stops what `up` started, the worker first; the names. Others are left alone."""
    found = dict(reversed(running().items()))
    for server in found.values():
        _stop(psutil.Process(server["pid"]))
    _file().unlink(missing_ok=True)
    return list(found)


def running() -> dict[str, Server]:
    """The servers that `up` started and whose processes are still those."""
    noted = read_json(_file()) if _file().exists() else {}
    return {name: server for name, server in noted.items() if _alive(server)}


def prefect_api() -> Callable[[], None]:
    """Sets PREFECT_API_URL, if it is not: to a healthy server of `up`, else to a temporary one that ends with us.

    Returns what waits until the server answers, so that imports can be done meanwhile. To be called before prefect is
    imported: it reads the address then, and it must be able to send its last lines before the server is stopped.
    """
    if "PREFECT_API_URL" in os.environ:
        return _refuse_unreached
    server = running().get("prefect")
    if server and _healthy("prefect", server["url"]):
        os.environ["PREFECT_API_URL"] = f"{server['url']}/api"
        return lambda: None
    server = _temporary()
    atexit.register(_stop, psutil.Process(server["pid"]))
    os.environ["PREFECT_API_URL"] = f"{server['url']}/api"
    return lambda: _await("prefect", server)


def _refuse_unreached() -> None:
    """Raises RootstockError if PREFECT_API_URL names no server, or one of another major version."""
    from prefect.client.orchestration import get_client

    try:
        with get_client(sync_client=True) as client:
            client.raise_for_api_version_mismatch()
    except RuntimeError as error:
        raise RootstockError(
            f"PREFECT_API_URL: {error}; start that server, or unset the variable for one of our own"
        ) from None


def _temporary() -> Server:
    """A Prefect server that ends with this process, however it ends: its standard input is a pipe from here."""
    port = _free_port(0)
    command = [sys.executable, "-m", "flows.local.temporary_server", str(port)]
    with _log("prefect-temporary") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)
    return started(f"http://{HOST}:{port}", process)


def _start(name: str) -> Server:
    """Starts a long-lived server on its usual port, or on a free one if that is taken."""
    port = _free_port(PORTS[name])
    with _log(name) as log:
        process = subprocess.Popen(
            _command(name, port), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    return started(f"http://{HOST}:{port}", process)


def _command(name: str, port: int) -> list[str]:
    at = ["--host", HOST, "--port", str(port)]
    if name == "prefect":
        return ["prefect", "server", "start", *at]
    stores = [
        "--backend-store-uri",
        OWN_DATABASE,
        "--artifacts-destination",
        str(REGISTRY / "artifacts"),
    ]
    return ["mlflow", "server", *at, *stores, "--workers", "1"]


def _await(name: str, server: Server) -> None:
    """Waits until the server answers. Raises RootstockError if it ends or does not answer in time."""
    deadline = time.monotonic() + START_SECONDS
    while not _healthy(name, server["url"]):
        if not _alive(server) or time.monotonic() > deadline:
            raise RootstockError(f"the {name} server at {server['url']} did not start; see {_logs()}/{name}*.log")
        time.sleep(0.1)


def _healthy(name: str, url: str) -> bool:
    try:
        with urlopen(url + HEALTH[name], timeout=5) as answer:  # noqa: S310 - a loopback address of our own
            return bool(answer.status == HTTPStatus.OK)
    except (URLError, OSError):
        return False


def _alive(server: Server) -> bool:
    """Whether this very process runs still, and not another that got its number."""
    try:
        process = psutil.Process(server["pid"])
        same = abs(process.create_time() - server["created"]) < CLOCK
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _stop(process: psutil.Process) -> None:
    """Ends a server and its children: asked first, then killed."""
    family = [process, *process.children(recursive=True)]
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.terminate()
    _, alive = psutil.wait_procs(family, STOP_SECONDS)
    for member in alive:
        with suppress(psutil.NoSuchProcess):
            member.kill()


def _free_port(wanted: int) -> int:
    """`wanted` if it is free on loopback, else any that is."""
    for port in (wanted, 0):
        with suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # a page that was open waits for a minute
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise RootstockError(f"no free port on {HOST}")


def _file() -> Path:
    return PathsParams.load().paths.state / "servers.json"


def _logs() -> Path:
    return PathsParams.load().paths.state / "logs"


def _log(name: str) -> IO[bytes]:
    _logs().mkdir(parents=True, exist_ok=True)
    return (_logs() / f"{name}.log").open("wb")
