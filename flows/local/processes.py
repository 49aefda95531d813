"""Background processes on record: by their ID and start time, they are recognized and stopped later."""

from __future__ import annotations

import subprocess
from contextlib import suppress
from typing import NotRequired, TypedDict

import psutil

STOP_SECONDS = 15.0
CLOCK_TOLERANCE = 60.0  # seconds by which a process's start time may shift when the clock is adjusted


class Server(TypedDict):
    """A background process: its address (for the worker, a description), its ID and its start time in seconds."""

    url: str
    pid: int
    created: float
    shared: NotRequired[bool]  # whether it asks for a login


def started(url: str, process: subprocess.Popen[bytes]) -> Server:
    """Returns the record of a process that has just been started."""
    return {"url": url, "pid": process.pid, "created": psutil.Process(process.pid).create_time()}


def is_alive(server: Server) -> bool:
    """Returns whether this process is still alive; a different process with the same ID has another start time."""
    try:
        process = psutil.Process(server["pid"])
        same = abs(process.create_time() - server["created"]) < CLOCK_TOLERANCE
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def stop(process: psutil.Process) -> None:
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
