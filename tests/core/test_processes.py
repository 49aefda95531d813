"""Shards that are computed by a pool of processes come in order; no process outlives this one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tasks.core.errors import ParamsError, RootstockError
from tasks.core.processes import AHEAD, map_in_processes
from tests.errors import raises
from tests.project import ROOT, environment, is_alive, wait_until


def square(number):
    return number * number


def refuse(number):
    raise ParamsError(f"number {number}", key="data.source")


def once_killed(place):
    """Kills its own process, but for the second time."""
    file, number = place
    if number == 3 and not file.exists():
        file.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def killed(_number):
    os.kill(os.getpid(), signal.SIGKILL)


def note(place):
    folder, number = place
    (folder / f"{number}").touch()
    return number


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_results_come_in_order(workers):
    assert list(map_in_processes(square, range(50), workers=workers)) == [number * number for number in range(50)]
    assert list(map_in_processes(square, [], workers=workers)) == []


@pytest.mark.parametrize("workers", [1, 2])
def test_few_shards_are_taken_ahead(workers):
    taken = []
    shards = (taken.append(number) or number for number in range(100))
    results = map_in_processes(square, shards, workers=workers)
    next(results)
    assert len(taken) <= AHEAD * workers
    results.close()


def test_an_error_is_the_same_from_another_process():
    with raises(ParamsError, "data.source") as caught:
        list(map_in_processes(refuse, [7], workers=2))
    assert (str(caught.value), caught.value.exit_code) == ("number 7", 2)


def test_a_killed_process_is_replaced_and_its_work_done_again(tmp_path, capsys):
    places = [(tmp_path / "killed", number) for number in range(20)]
    assert list(map_in_processes(once_killed, places, workers=2)) == list(range(20))
    assert "a worker process has died; its work is done again by 1" in capsys.readouterr().out


def test_work_that_kills_its_process_each_time_is_given_up():
    with raises(RootstockError, "process-ended"):
        list(map_in_processes(killed, range(4), workers=2))


STAGE = """
import os, sys, time
from pathlib import Path
from tasks.core.processes import map_in_processes
from tests.core.test_processes import sleep
if __name__ == "__main__":
    list(map_in_processes(sleep, [Path(sys.argv[1])] * 2, workers=2))
"""


def sleep(folder):
    (folder / str(os.getpid())).touch()
    time.sleep(600)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_process_outlives_the_one_that_started_it(tmp_path, number):
    script, folder = tmp_path / "stage.py", tmp_path / "pids"
    script.write_text(STAGE)
    folder.mkdir()
    stage = subprocess.Popen([sys.executable, script, folder], env={**environment(), "PYTHONPATH": str(ROOT)})
    wait_until(lambda: len(list(folder.iterdir())) == 2, 60)
    children = [int(file.name) for file in Path(folder).iterdir()]
    assert all(psutil.pid_exists(pid) for pid in children)
    stage.send_signal(number)
    stage.wait()
    wait_until(lambda: not any(map(is_alive, children)), 5)
