"""A process that imports a program once and runs it in forks of itself: an import of torch takes seconds, a fork none.

It exits when its standard input closes. A fork joins the process group of the command that asks for it, so that what
ends that group ends the fork too. Linux only: elsewhere, libraries may not survive a fork.
"""

from __future__ import annotations

import gc
import json
import os
import selectors
import signal
import socket
import struct
import sys
import sysconfig
import traceback
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from itertools import chain
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast

from tasks.core import interpreter
from tasks.core.errors import EXIT_BROKEN
from tasks.runner.fork import end_with, exit_code, name_process
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
        streams: list[int] = []
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError), ExitStack() as stack:
            connection = stack.enter_context(self._listener.accept()[0])
            connection.settimeout(SECONDS)
            message, streams, _flags, _address = socket.recv_fds(connection, LONGEST, 3)
            for stream in streams:
                stack.callback(os.close, stream)
            request = json.loads(message)
            if basis_of(request["environment"], request["paths"]) == self._basis:
                self._fork(connection, streams, request)

    def _fork(self, connection: socket.socket, streams: list[int], request: dict[str, Any]) -> None:
        group, server = group_of_peer(connection), os.getpid()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads: NumPy's end before a fork by themselves
            child = os.fork()
        if not child:
            self._become(connection, group, server, streams, request)
        try:
            fork = Fork(child, os.pidfd_open(child), connection.dup())
        except OSError:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise
        self._selector.register(fork.end, selectors.EVENT_READ, partial(self._report, fork))
        self._selector.register(fork.connection, selectors.EVENT_READ, partial(self._kill, fork))

    def _become(
        self, connection: socket.socket, group: int, server: int, streams: list[int], request: dict[str, Any]
    ) -> NoReturn:
        """Runs the program in this process, a fork, as the client would; never returns to the server's loop."""
        code = EXIT_BROKEN
        try:
            end_with(server)
            os.setpgid(0, group)  # fails if the client has ended, or belongs to another session
            connection.send(ACCEPTED)
            connection.close()
            self._close()
            for number, stream in enumerate(streams):
                os.dup2(stream, number)
                os.close(stream)
            os.chdir(request["folder"])
            os.environ.clear()
            os.environ.update(request["environment"])
            name_process(request["name"])
            self._program.run_here(request["arguments"])
        except SystemExit as exit_:
            code = exit_code(exit_)
        except BaseException:
            traceback.print_exc()
        finally:
            try:
                interpreter.end(code)
            finally:
                os._exit(code)

    def _close(self) -> None:
        """Closes what a fork inherits from the server: its listener, and the connections and ends of other forks."""
        for key in [*self._selector.get_map().values()]:
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
            elif key.fd != sys.stdin.fileno():
                os.close(key.fd)
        self._selector.close()

    def _kill(self, fork: Fork) -> None:
        """Kills a fork whose client has ended, unless it has ended at the same time."""
        self._unregister(fork.connection)
        if fork.end in self._selector.get_map():
            os.kill(fork.child, signal.SIGKILL)

    def _report(self, fork: Fork) -> None:
        """Sends the exit code of a fork that has ended, to a client that may have ended too."""
        self._unregister(fork.end)
        self._unregister(fork.connection)
        os.close(fork.end)
        code = os.waitstatus_to_exitcode(os.waitpid(fork.child, 0)[1])
        with fork.connection, suppress(OSError):
            fork.connection.send(str(code).encode())

    def _unregister(self, source: int | socket.socket) -> None:
        if source in self._selector.get_map():
            self._selector.unregister(source)


@dataclass(frozen=True)
class Fork:
    """A fork that runs: its process, a descriptor that is readable when it has ended, and the client's connection.

    The client sends nothing more: a connection that is readable has been closed.
    """

    child: int
    end: int
    connection: socket.socket


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
    os.close(os.pidfd_open(os.getpid()))  # a system without it gets no server
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
