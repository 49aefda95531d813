from __future__ import annotations

import subprocess
import sys

import psutil

from flows.local.processes import stop
from flows.local.respawn import MAX_QUICK, Respawned
from tests.project import is_alive, wait_until


class Starts(list):
    """Starts processes that run this code, and keeps them."""

    def __init__(self, code):
        super().__init__()
        self.code = code

    def __call__(self):
        self.append(subprocess.Popen([sys.executable, "-c", self.code]))
        return self[-1]


def test_a_killed_server_is_started_again_until_it_is_stopped():
    starts = Starts("import time; time.sleep(60)")
    server = Respawned(starts)
    for count in (2, 3):
        starts[-1].kill()
        wait_until(lambda count=count: len(starts) == count and is_alive(starts[-1].pid))
    assert server.is_alive()
    server.stop(stop)
    wait_until(lambda: not server.is_alive())
    assert [process.poll() is not None for process in starts] == [True] * 3


def test_a_server_that_cannot_start_is_given_up():
    starts = Starts("raise SystemExit(1)")
    server = Respawned(starts)
    wait_until(lambda: not server.is_alive())
    assert MAX_QUICK <= len(starts) <= MAX_QUICK + 1
    server.stop(stop)


def test_a_server_that_is_killed_while_it_is_stopped_is_no_error():
    starts = Starts("import time; time.sleep(60)")
    server = Respawned(starts)

    def killed(process):
        starts[-1].kill()
        starts[-1].wait()
        stop(process)

    server.stop(killed)
    server.stop(stop)
    assert not psutil.pid_exists(starts[0].pid)
    assert len(starts) == 1
