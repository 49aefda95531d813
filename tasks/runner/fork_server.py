"""A process that imports a program once and runs it in forks of itself: an import of torch takes seconds, a fork none.

It exits when its standard input closes. A fork joins the process group of the command that asks for it, so that what
ends that group ends the fork too. Linux only: elsewhere, libraries may not survive a fork.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import socket
import struct
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

from tasks.core import interpreter
from tasks.core.errors import EXIT_BROKEN
from tasks.runner.fork_client import ACCEPTED, LONGEST, interpreter_paths, variables

SECONDS = 5.0  # that a client may take to send its request; it does so right after connecting
CREDENTIALS = "3i"  # process, user and group of a socket's peer, see unix(7)
CODE = ("tasks", "flows")


class Program(Protocol):
    """A module that can be run in forks."""

    def imports(self, names: list[str]) -> Iterator[None]:
        """Imports what the program needs in order to do what these names say, and yields when others may run."""

    def run_here(self, arguments: list[str]) -> NoReturn:
        """Runs the program in this process, and ends it."""


class ForkServer:
    """Answers requests at a listening socket, without threads, as a fork has only the thread that forks."""

    def __init__(self, listener: socket.socket, basis: list[object], program: Program) -> None:
        self._listener, self._basis, self._program = listener, basis, program
        self._selector = selectors.DefaultSelector()
        self._selector.register(sys.stdin.fileno(), selectors.EVENT_READ, partial(os._exit, 0))
        self._selector.register(listener, selectors.EVENT_READ, self._accept)

    def handle(self, timeout: float | None) -> bool:
        """Handles what has happened, or happens within `timeout` seconds. Returns whether anything has."""
        events = self._selector.select(timeout)
        for key, _mask in events:
            key.data()
        return bool(events)

    def _accept(self) -> None:
        """Answers one client. A client that gets no answer runs the program itself."""
        connection, _address = self._listener.accept()
        streams: list[int] = []
        try:
            connection.settimeout(SECONDS)
            message, streams, _flags, _address = socket.recv_fds(connection, LONGEST, 3)
            request = json.loads(message)
            if basis_of(request["environment"], request["paths"]) == self._basis:
                self._fork(connection, streams, request)
        except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
            print(f"declined: {error}", file=sys.stderr)
        finally:
            connection.close()
            for stream in streams:
                os.close(stream)

    def _fork(self, connection: socket.socket, streams: list[int], request: dict[str, Any]) -> None:
        group = group_of_peer(connection)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: NumPy's end before a fork by themselves
            child = os.fork()
        if not child:
            self._become(connection, group, streams, request)
        end = os.pidfd_open(child)
        self._selector.register(end, selectors.EVENT_READ, partial(self._report, child, end, connection.dup()))

    def _become(self, connection: socket.socket, group: int, streams: list[int], request: dict[str, Any]) -> NoReturn:
        """Runs the program in this process, a fork, as the client would; never returns to the server's loop."""
        code: Any = EXIT_BROKEN
        try:
            os.setpgid(0, group)  # fails if the client has ended, or belongs to another session
            connection.send(ACCEPTED)
            connection.close()
            self._listener.close()
            self._selector.close()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            os.chdir(request["folder"])
            os.environ.clear()
            os.environ.update(request["environment"])
            Path("/proc/self/comm").write_text(request["name"])  # shown by ps and top
            self._program.run_here(request["arguments"])
        except SystemExit as end:
            code = end.code
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _report(self, child: int, end: int, connection: socket.socket) -> None:
        """Sends the exit code of a fork that has ended, to a client that may have ended too."""
        self._selector.unregister(end)
        os.close(end)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        with connection, suppress(OSError):
            connection.send(str(code).encode())


def basis_of(environment: dict[str, str], paths: list[str]) -> list[object]:
    """Returns what imports depend on: variables, interpreter and paths, and the state of the code and the packages."""
    root = Path(__file__).parents[2]
    files = [*chain.from_iterable((root / name).rglob("*.py") for name in CODE), Path(sysconfig.get_path("purelib"))]
    stats = {str(file): file.stat() for file in files}
    changed = {name: (stat.st_mtime_ns, stat.st_size) for name, stat in stats.items()}
    return [variables(environment), paths, changed]


def group_of_peer(connection: socket.socket) -> int:
    """Returns the process group of the client. Raises PermissionError if it is another user's."""
    size = struct.calcsize(CREDENTIALS)
    packed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
    process, user, _group = struct.unpack(CREDENTIALS, packed)
    if user != os.getuid():
        raise PermissionError(f"process {process} is user {user}'s")
    return os.getpgid(process)


def main(listener: socket.socket, module: str, names: list[str]) -> NoReturn:
    """Imports what a program needs for these names, and answers requests in between and from then on."""
    interpreter.begin_imports()
    basis = basis_of({**os.environ}, interpreter_paths())  # before anything that it is about is imported
    program = cast("Program", import_module(module))
    server = ForkServer(listener, basis, program)
    for _ in program.imports(names):
        gc.freeze()  # a collection in a fork would copy the pages of all that was imported
        while server.handle(timeout=0):
            pass
    while True:
        server.handle(timeout=None)


if __name__ == "__main__":
    main(socket.socket(fileno=int(sys.argv[1])), sys.argv[2], sys.argv[3:])
