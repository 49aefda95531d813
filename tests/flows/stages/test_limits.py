from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from flows.config.parameters import RunSection
from flows.stages import limits
from flows.stages.limits import Watch


@pytest.fixture
def clock(monkeypatch):
    """Returns the steps of a clock that replaces the real one."""
    seconds = [0.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: seconds[0])
    monkeypatch.setattr(limits, "_processor_seconds", lambda _group: 0.0)
    return seconds


@pytest.mark.parametrize(("timeout", "key"), [(150, "run.timeout"), (None, "run.stall")])
def test_a_pause_of_the_supervisor_is_no_stall_and_takes_no_time(clock, timeout, key):
    watch = Watch(os.getpid(), RunSection(timeout=timeout, stall=200, retries=0, slot=None))
    clock[0] = 10_000
    assert watch.exceeded() is None
    for now in range(10_001, 10_140):
        clock[0] = now
        assert watch.exceeded() is None
    for now in range(10_140, 10_202):
        clock[0] = now
        last = watch.exceeded()
    assert last == key


def test_computing_is_a_sign_of_work():
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"], process_group=0)
    try:
        watch = Watch(busy.pid, RunSection(timeout=None, stall=1, retries=0, slot=None))
        end = time.monotonic() + 2
        while time.monotonic() < end:
            assert watch.exceeded() is None
    finally:
        busy.kill()
        busy.wait()
