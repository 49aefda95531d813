"""Has a command run in a fork of a process that has imported its program. Imports nothing that takes time."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any, NoReturn

STAGE_SERVER = "ROOTSTOCK_STAGE_SERVER"  # variables with the path of a server's socket
DVC_SERVER = "ROOTSTOCK_DVC_SERVER"
ACCEPTED = b"accepted"
LONGEST = 2**20  # bytes of a request; most of it is the environment
OF_A_CALL = ("DVC_", "ROOTSTOCK_", "COLUMNS", "LINES", "OLDPWD", "PWD", "SHLVL", "_")  # no import depends on these


def run_in_fork(variable: str, name: str, arguments: list[str]) -> None:
    """Ends this process as the command has ended if a fork runs it; returns if no server, or none that fits, does.

    `variable` is the server's, and `name` the command's in lists of processes. A server declines if its code, packages
    or environment are not what this process would import.
    """
    if (address := os.environ.get(variable)) is None:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as server:
        try:
            server.connect(address)
            socket.send_fds(server, [json.dumps(request(name, arguments)).encode()], [0, 1, 2])
            is_accepted = server.recv(LONGEST) == ACCEPTED
        except OSError:
            return
        if is_accepted:
            _end_like(_exit_code(server))


def request(name: str, arguments: list[str]) -> dict[str, Any]:
    """Returns what a fork needs, beside the standard streams, in order to become this process."""
    command = {"name": name, "arguments": arguments}
    return {**command, "folder": str(Path.cwd()), "environment": {**os.environ}, "paths": interpreter_paths()}


def interpreter_paths() -> list[str]:
    """Returns the interpreter and the folders that this process imports from."""
    return [sys.executable, str(Path(__file__).parents[2]), *sys.path[1:]]


def variables(environment: dict[str, str]) -> dict[str, str]:
    """Returns the variables of an environment that an import may depend on."""
    return {name: value for name, value in environment.items() if not name.startswith(OF_A_CALL)}


def _exit_code(server: socket.socket) -> int:
    """Waits for the exit code. A server that was killed took its forks with it; its command then counts as terminated.

    That is no sign of too little memory for the command itself, unlike an end by SIGKILL.
    """
    try:
        return int(server.recv(LONGEST) or -signal.SIGTERM)
    except OSError:
        return -signal.SIGTERM


def _end_like(code: int) -> NoReturn:
    """Ends this process with an exit code, or by the signal that ended the fork."""
    if code < 0:
        os.kill(os.getpid(), -code)
    os._exit(code)
