"""Serve: answers HTTP requests with the live version, and follows it. It needs no Prefect."""

from __future__ import annotations

import asyncio
import os
import resource
import shutil
import signal
import socket
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from pydantic import ValidationError

from flows.config.parameters import FlowParams, ServeSection
from flows.local.guard import LOOPBACK_HOSTS, more_hosts
from flows.local.state import open_state
from flows.serving.fetching import Fetching
from flows.serving.front_process import FrontProcess
from flows.serving.keeper import Keeper
from flows.serving.settings import TOKEN, FrontSettings, WorkerSettings
from flows.serving.spares import Spares
from flows.serving.status import Status
from tasks.core.cores import count_cores
from tasks.core.errors import ParamsError, RootstockError
from tasks.core.files import read_json, remove
from tasks.serving.limits import Limits

MIN_TOKEN = 16  # characters
BACKLOG = 2048  # connections that wait while no front accepts them
FOLDER, LOG = "serve", "serve.log"
SEATS = 2  # requests at a worker for each of its threads: while one is answered, the next one is there


def serve(params: FlowParams, options: Mapping[str, Any]) -> None:
    """Serves until it is interrupted; `options` replace parameters of the section serve.

    Raises RootstockError if the address or the settings cannot be used.
    """
    section = _section(params.serve, options)
    hosts = check_access(section)
    open_state(params.paths.state)
    folder = params.paths.state / FOLDER
    folder.mkdir(exist_ok=True)
    try:
        with FileLock(folder / "serve.lock", timeout=0), listening(section) as listener:
            _raise_descriptors()
            asyncio.run(_serve(params, section, folder, listener, hosts))
    except Timeout:
        raise RootstockError(
            f"a server of this checkout runs already (it holds {folder}/serve.lock); stop it, or use another checkout",
            key="serve-running",
        ) from None


def _section(section: ServeSection, options: Mapping[str, Any]) -> ServeSection:
    try:
        return ServeSection.model_validate({**dict(section), **options})
    except ValidationError as error:
        fault = error.errors()[0]
        name = str((*fault["loc"], "port")[0])
        raise ParamsError(f"--{name}: {fault['msg']}", key=f"serve.{name}") from None


def check_access(section: ServeSection) -> tuple[str, ...]:
    """Returns the names by which clients may call this machine, besides those of loopback.

    Raises RootstockError if strangers could reach the server without a token, or the token is short.
    """
    token = os.environ.get(TOKEN)
    if token is not None and len(token) < MIN_TOKEN:
        raise RootstockError(f"{TOKEN} has less than {MIN_TOKEN} characters; unset it, or use a longer one", key=TOKEN)
    if section.host not in {*LOOPBACK_HOSTS, "::1"} and token is None:
        raise RootstockError(
            f"serve.host: {section.host} can be reached from other machines, so requests need a token: set {TOKEN} "
            f"to at least {MIN_TOKEN} random characters, or serve.host to 127.0.0.1",
            key="serve.host",
        )
    return (*more_hosts(), section.host)


def listening(section: ServeSection) -> socket.socket:
    """Returns a listening socket. Raises RootstockError if there is none."""
    try:
        family, *_, address = socket.getaddrinfo(section.host, section.port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise RootstockError(
            f"serve: {section.host} port {section.port} cannot be used ({error}); stop the program that listens there,"
            " or choose another port: make serve ARGS='--port 8001' (0: any free one)",
            key="serve.port",
        ) from None
    return listener


async def _serve(
    params: FlowParams, section: ServeSection, folder: Path, listener: socket.socket, hosts: tuple[str, ...]
) -> None:
    """Runs the keeper until a signal ends it."""
    model = params.register_.model
    logs = params.paths.state / "logs"
    logs.mkdir(exist_ok=True)
    status = Status(folder / "status.json", logs / LOG, f"http://{section.host}:{listener.getsockname()[1]}")
    _tidy(folder)
    limits = Limits(section.max_mib, section.max_pixels, section.max_images, section.seconds)
    threads = max(1, count_cores() // section.workers)
    sockets = Path(tempfile.mkdtemp(prefix="rootstock-serve-"))  # Unix allows only short paths
    status.update(pid=os.getpid(), model=model, sockets=str(sockets))
    try:
        with status.log.open("ab") as log:
            front = FrontProcess(listener, FrontSettings(limits, SEATS * threads, section.queue, hosts), log)
            worker = WorkerSettings(limits, threads, str((folder / "quarantine").absolute()))
            spares = Spares(section.spares, sockets, worker, log)
            keeper = Keeper(section, model, front, spares, Fetching(model, folder / "versions", log), status)
            status.say(f"listening at {status.url}; the log is {status.log}")
            await _until_signaled(front, keeper)
    finally:
        shutil.rmtree(sockets, ignore_errors=True)
        status.file.unlink(missing_ok=True)
        remove(folder / "versions")


async def _until_signaled(front: FrontProcess, keeper: Keeper) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    tasks = [asyncio.create_task(front.keep()), asyncio.create_task(keeper.run())]
    signaled = asyncio.create_task(stopped.wait())
    await asyncio.wait([*tasks, signaled], return_when=asyncio.FIRST_COMPLETED)
    for task in tasks:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task  # an error of its own is raised here


def _tidy(folder: Path) -> None:
    """Removes what a server that was killed has left."""
    remove(folder / "versions")
    (folder / "quarantine").mkdir(exist_ok=True)
    for note in (folder / "quarantine").glob("*.*"):  # of a picture in work when all processes ended
        note.unlink()
    if (folder / "status.json").exists():
        left = Path(str(read_json(folder / "status.json").get("sockets", "")))
        if left.name.startswith("rootstock-serve-"):
            shutil.rmtree(left, ignore_errors=True)


def _raise_descriptors() -> None:
    """Allows as many open connections as the system lets this user have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
