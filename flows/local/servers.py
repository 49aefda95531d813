"""Prefect and MLflow servers on loopback: long-lived (make up, make down), or temporary, for a single flow."""

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
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import IO
from urllib.error import URLError
from urllib.request import urlopen

import psutil
from filelock import FileLock

from flows.local import worker
from flows.local.environment import LOCAL_DATABASE, REGISTRY
from flows.local.respawn import Respawned
from flows.local.worker import WATCHER, WORKER, Server, started
from tasks.core.errors import RootstockError
from tasks.core.files import read_json, write_json
from tasks.core.paths import PathsParams

HOST = "127.0.0.1"
PORTS = {"prefect": 4200, "mlflow": 5000}
HEALTH = {"prefect": "/api/health", "mlflow": "/health"}
START_SECONDS = 120.0
STOP_SECONDS = 15.0
CLOCK_TOLERANCE = 60.0  # seconds by which a process's start time may shift when the clock is adjusted


def up() -> dict[str, str]:
    """Starts the servers, a worker for the deployments, and the watcher, unless they run. Returns their addresses.

    Raises RootstockError if a server does not respond or the deployments cannot be registered.
    """
    lock = Path(tempfile.gettempdir()) / f"rootstock-up-{os.getuid()}.lock"  # two checkouts could pick the same port
    with FileLock(lock):
        return _up()


def _up() -> dict[str, str]:
    servers = running()
    missing = [name for name in PORTS if name not in servers]
    for name in missing:
        servers[name] = _start(name)
        write_json(_file(), servers)
    for name in missing:
        _await(name, servers[name]["url"], partial(_alive, servers[name]))
    if WORKER not in servers:
        servers[WORKER] = worker.start(servers["prefect"]["url"], _log)
        write_json(_file(), servers)
    if WATCHER not in servers:
        servers[WATCHER] = worker.start_watcher(servers["mlflow"]["url"], _log)
        write_json(_file(), servers)
    return {name: server["url"] for name, server in servers.items()}


def down() -> list[str]:
    """Stops the processes that `up` started, the last one first. Returns their names."""
    servers = dict(reversed(running().items()))
    for server in servers.values():
        _stop(psutil.Process(server["pid"]))
    _file().unlink(missing_ok=True)
    return list(servers)


def running() -> dict[str, Server]:
    """Returns the processes that `up` started and that are still alive, by name."""
    servers: dict[str, Server] = read_json(_file()) if _file().exists() else {}
    return {name: server for name, server in servers.items() if _alive(server)}


def prefect_api() -> Callable[[], None]:
    """Sets PREFECT_API_URL if it is unset: to the server started by `up` if healthy, else to a new temporary server.

    Returns a function that waits until the server responds, so that the caller can import modules meanwhile. Call this
    before importing prefect, which reads the address at import; prefect's exit handlers then run before the server
    stops, so its last log lines arrive.
    """
    if "PREFECT_API_URL" in os.environ:
        return _check_reachable
    server = running().get("prefect")
    if server and _healthy("prefect", server["url"]):
        os.environ["PREFECT_API_URL"] = f"{server['url']}/api"
        return lambda: None
    port = _free_port(0)
    url, temporary = f"http://{HOST}:{port}", Respawned(lambda: _temporary(port))
    atexit.register(temporary.stop, _stop)
    os.environ["PREFECT_API_URL"] = f"{url}/api"
    return lambda: _await("prefect", url, temporary.is_alive)


def _check_reachable() -> None:
    """Raises RootstockError if no server responds at PREFECT_API_URL, or if its major version differs."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        with get_client(sync_client=True) as client:
            client.raise_for_api_version_mismatch()
    except PrefectHTTPStatusError as error:
        refusal = f"PREFECT_API_URL: {error.request.url.host} answers {error.response.status_code}"
        raise RootstockError(f"{refusal}; set PREFECT_API_AUTH_STRING", key="PREFECT_API_AUTH_STRING") from None
    except RuntimeError as error:
        raise RootstockError(
            f"PREFECT_API_URL: {error}; start that server, or unset the variable to use a local one",
            key="PREFECT_API_URL",
        ) from None


def _temporary(port: int) -> subprocess.Popen[bytes]:
    """Starts a Prefect server that exits with this process, which holds the other end of its standard input pipe."""
    command = [sys.executable, "-m", "flows.local.temporary_server", str(port)]
    with _log("prefect-temporary") as log:
        return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True)


def _start(name: str) -> Server:
    """Starts a long-lived server on its default port, or on a free port if the default is taken."""
    port = _free_port(PORTS[name])
    with _log(name) as log:
        process = subprocess.Popen(
            _command(name, port), stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    return started(f"http://{HOST}:{port}", process)


def _command(name: str, port: int) -> list[str]:
    address = ["--host", HOST, "--port", str(port)]
    if name == "prefect":
        return ["prefect", "server", "start", *address]
    stores = [
        "--backend-store-uri",
        LOCAL_DATABASE,
        "--artifacts-destination",
        str(REGISTRY / "artifacts"),
    ]
    return ["mlflow", "server", *address, *stores, "--workers", "1"]


def _await(name: str, url: str, is_alive: Callable[[], bool]) -> None:
    """Waits until the server responds. Raises RootstockError if it exits or does not respond in time."""
    deadline = time.monotonic() + START_SECONDS
    while not _healthy(name, url):
        if not is_alive() or time.monotonic() > deadline:
            raise RootstockError(
                f"the {name} server at {url} did not start; see {_logs()}/{name}*.log",
                key="server-not-started",
            )
        time.sleep(0.1)


def _healthy(name: str, url: str) -> bool:
    try:
        with urlopen(url + HEALTH[name], timeout=5) as response:  # noqa: S310 - a loopback address
            return bool(response.status == HTTPStatus.OK)
    except (URLError, OSError):
        return False


def _alive(server: Server) -> bool:
    """Returns whether this process is still alive; a different process with the same ID has another start time."""
    try:
        process = psutil.Process(server["pid"])
        same = abs(process.create_time() - server["created"]) < CLOCK_TOLERANCE
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _stop(process: psutil.Process) -> None:
    """Terminates a server and its children, and kills any that do not exit in time."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:  # it ended meanwhile
        return
    for member in family:
        with suppress(psutil.NoSuchProcess):
            member.terminate()
    _, alive = psutil.wait_procs(family, STOP_SECONDS)
    for member in alive:
        with suppress(psutil.NoSuchProcess):
            member.kill()


def _free_port(preferred: int) -> int:
    """Returns `preferred` if that port is free on loopback, otherwise any free port."""
    for port in (preferred, 0):
        with suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections linger for a minute
            probe.bind((HOST, port))
            return int(probe.getsockname()[1])
    raise RootstockError(f"no free port on {HOST}; stop a program that listens there", key="no-free-port")


def _file() -> Path:
    return PathsParams.load().paths.state / "servers.json"


def _logs() -> Path:
    return PathsParams.load().paths.state / "logs"


def server_logs() -> list[Path]:
    """Returns the logs of the processes that `up` started, to be rotated."""
    folder = _logs()
    return [folder / f"{name}.log" for name in (*PORTS, WORKER, WATCHER)]


def _log(name: str) -> IO[bytes]:
    """Opens an empty log for appending, so that it can be rotated."""
    _logs().mkdir(parents=True, exist_ok=True)
    file = _logs() / f"{name}.log"
    file.unlink(missing_ok=True)
    return file.open("ab")
