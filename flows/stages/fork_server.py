"""Runs the processes from which DVC and stages are forked, as long as a block runs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

from tasks.runner.fork_client import DVC_SERVER, STAGE_SERVER


@contextmanager
def fork_server(variable: str, address: Path, module: str, *names: str) -> Iterator[None]:
    """Has the block's commands of the program in `module` run in forks of a process that has imported it.

    `names` are what it will be asked for, `address` is the socket's path, which `variable` tells the commands. What
    the process cannot run, such as after a change of the code, runs as if there were none. There is none on systems
    other than Linux, and if the system refuses it.
    """
    with ExitStack() as stack:
        if sys.platform == "linux":
            with suppress(OSError):
                _start(stack, variable, address, (module, *names))
        yield


@contextmanager
def dvc_server(state: Path) -> Iterator[None]:
    """Has the block's commands of DVC run in forks. See `fork_server`."""
    with fork_server(DVC_SERVER, state / "dvc-server", "flows.stages.dvc_command"):
        yield


@contextmanager
def stage_server(state: Path, stages: Sequence[str]) -> Iterator[None]:
    """Has the block's stages run in forks; what the next one needs is imported while one runs. See `fork_server`."""
    if not stages:
        yield
        return
    with fork_server(STAGE_SERVER, state / "stage-server", "tasks.runner.stages", *stages):
        yield


def _start(stack: ExitStack, variable: str, address: Path, arguments: Sequence[str]) -> None:
    address.unlink(missing_ok=True)  # of a flow that was killed
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
        listener.bind(str(address))
        stack.callback(address.unlink, missing_ok=True)
        listener.listen()
        process = subprocess.Popen(
            [sys.executable, "-m", "tasks.runner.fork_server", str(listener.fileno()), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=[listener.fileno()],
            process_group=0,  # Ctrl-C is for the flow
        )
    stack.callback(_end, process)
    os.environ[variable] = str(address)
    stack.callback(os.environ.pop, variable)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kills the server, which has nothing to lose, even in the middle of an import."""
    process.kill()
    process.communicate()
