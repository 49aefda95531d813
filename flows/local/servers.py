"""The long-lived Prefect and MLflow servers on loopback, with their worker and watcher: make up, make down."""

from __future__ import annotations

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

from flows.local import auth, worker
from flows.local.database import check_not_lost
from flows.local.guard import more_hosts
from flows.local.processes import Server, is_alive, started, stop
from flows.local.worker import SERVE, WATCHER, WORKER
from tasks.core.errors import RootstockError
from tasks.core.files import read_json, write_json
from tasks.core.paths import PathsParams

HOST = "127.0.0.1"
PORTS = {"prefect": 4200, "mlflow": 5000}
HEALTH = {"prefect": "/api/health", "mlflow": "/health", SERVE: "/v2/health/live"}
START_SECONDS = 120.0


def up(*, shared: bool, serve: str | None = None) -> dict[str, str]:
    """Starts the servers, a worker for the deployments, and the watcher, unless they run. Returns their addresses.

    If `shared`, MLflow asks for a login. With the address `serve`, the live version answers there.

    Raises RootstockError if a server does not respond or the deployments cannot be registered.
    """
    more_hosts()  # an error in words now, not in the servers' logs
    check_not_lost()
    lock = Path(tempfile.gettempdir()) / f"rootstock-up-{os.getuid()}.lock"  # two checkouts could pick the same port
    with FileLock(lock):
        return _up(shared=shared, serve=serve)


def _up(*, shared: bool, serve: str | None) -> dict[str, str]:
    servers = running()
    string = _auth_string(servers, shared=shared)
    missing = [name for name in PORTS if name not in servers]
    for name in missing:
        servers[name] = _start(name, shared=shared)
        write_json(_file(), {**_recorded(), **servers})
    for name in missing:
        wait_until_healthy(name, servers[name]["url"], partial(is_alive, servers[name]))
    if WORKER not in servers:
        servers[WORKER] = worker.start(auth.prefect_variables(f"{servers['prefect']['url']}/api", string), log)
        write_json(_file(), servers)
    if WATCHER not in servers:
        login = auth.mlflow_variables(string) if shared else {}
        servers[WATCHER] = worker.start_watcher(servers["mlflow"]["url"], login, log)
        write_json(_file(), servers)
    if serve and SERVE not in servers:
        servers[SERVE] = worker.start_serving(serve, log)
        write_json(_file(), servers)
        wait_until_healthy(SERVE, serve, partial(is_alive, servers[SERVE]))
    return {name: server["url"] for name, server in servers.items()}


def _auth_string(servers: dict[str, Server], *, shared: bool) -> str:
    """Returns the auth string; makes it if no server runs yet. Raises RootstockError if it is not as they started."""
    if "mlflow" in servers and servers["mlflow"].get("shared", False) != shared:
        raise RootstockError("up.shared has changed since MLflow was started: run make down first", key="up.shared")
    return auth.read() if servers else auth.ensure()


def down() -> list[str]:
    """Stops the processes that `up` started, the last one first. Returns their names."""
    servers = dict(reversed(running().items()))
    for server in servers.values():
        with suppress(psutil.NoSuchProcess):  # it has just ended
            stop(psutil.Process(server["pid"]))
    _file().unlink(missing_ok=True)
    return list(servers)


def running() -> dict[str, Server]:
    """Returns the processes that `up` started and that are still alive, by name."""
    return {name: server for name, server in _recorded().items() if is_alive(server)}


def _recorded() -> dict[str, Server]:
    """Returns the processes that `up` has started last, by name, whether they are still alive or not."""
    servers: dict[str, Server] = read_json(_file()) if _file().exists() else {}
    return servers


def client_variables() -> dict[str, str]:
    """Returns the variables with which Prefect's and MLflow's own commands reach the servers of `up`.

    Raises RootstockError if these do not run.
    """
    servers = running()
    if not PORTS.keys() <= servers.keys():
        raise RootstockError("the servers do not run; start them first: make up", key="servers-down")
    string = auth.read()
    login = auth.mlflow_variables(string) if servers["mlflow"].get("shared") else {}
    prefect = auth.prefect_variables(f"{servers['prefect']['url']}/api", string)
    return {**prefect, "MLFLOW_TRACKING_URI": servers["mlflow"]["url"], **login}


def _start(name: str, *, shared: bool) -> Server:
    """Starts a long-lived server on its last port, by default its own, or on a free port if that is taken.

    Other processes of `up`, and commands that run, know the last address.
    """
    last = _recorded().get(name)
    port = free_port(int(last["url"].rpartition(":")[2]) if last else PORTS[name])
    login = ["--shared"] if shared and name == "mlflow" else []
    command = [sys.executable, "-m", "flows.local.server", name, str(port), *login]
    with log(name) as file:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    return {**started(f"http://{HOST}:{port}", process), "shared": bool(login)}


def wait_until_healthy(name: str, url: str, is_running: Callable[[], bool]) -> None:
    """Waits until the server responds. Raises RootstockError if it exits or does not respond in time."""
    deadline = time.monotonic() + START_SECONDS
    while not is_healthy(name, url):
        if not is_running() or time.monotonic() > deadline:
            raise RootstockError(
                f"the {name} server at {url} did not start; see {_logs()}/{name}*.log",
                key="server-not-started",
            )
        time.sleep(0.1)


def is_healthy(name: str, url: str) -> bool:
    """Returns whether a server responds to its health check, which needs no login."""
    try:
        with urlopen(url + HEALTH[name], timeout=5) as response:  # noqa: S310 - a loopback address
            return bool(response.status == HTTPStatus.OK)
    except (URLError, OSError):
        return False


def free_port(preferred: int) -> int:
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
    return [folder / f"{name}.log" for name in (*PORTS, WORKER, WATCHER, SERVE)]


def log(name: str) -> IO[bytes]:
    """Opens an empty log for appending, so that it can be rotated."""
    _logs().mkdir(parents=True, exist_ok=True)
    file = _logs() / f"{name}.log"
    file.unlink(missing_ok=True)
    return file.open("ab")
