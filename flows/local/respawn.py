"""A server for this process alone: if it is killed, it is started again, on its port and with its database."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress

import psutil

QUICK = 1.0  # seconds within which a server that ends has not even begun
MAX_QUICK = 5  # such ends in a row, after which it is not started again


class Respawned:
    """A server process that is started again when it ends, until `stop`."""

    def __init__(self, start: Callable[[], subprocess.Popen[bytes]]) -> None:
        self._start = start
        self._process = start()
        self._is_stopped = False
        self._lock = threading.Lock()  # no server is started after the stop
        self._watcher = threading.Thread(target=self._watch, name="respawn", daemon=True)
        self._watcher.start()

    def is_alive(self) -> bool:
        """Returns whether the server runs, or is about to be started again."""
        return self._watcher.is_alive()

    def stop(self, end: Callable[[psutil.Process], None]) -> None:
        """Ends the server by calling `end`, if it still runs."""
        with self._lock:
            self._is_stopped = True
        with suppress(psutil.NoSuchProcess):  # it ends by itself meanwhile
            if self._process.poll() is None:
                end(psutil.Process(self._process.pid))

    def _watch(self) -> None:
        quick = 0
        while quick < MAX_QUICK:
            began = time.monotonic()
            self._process.wait()
            quick = quick + 1 if time.monotonic() - began < QUICK else 0
            with self._lock:
                if self._is_stopped:
                    return
                self._process = self._start()
