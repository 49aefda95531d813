from __future__ import annotations

import subprocess
import sys

from tasks.core.errors import RootstockError
from tasks.core.files import read_json
from tasks.core.messages import SUPERVISED
from tasks.core.supervision import EXIT_ORPHANED, measured_file, record, stage_lock
from tests.errors import raises
from tests.project import ROOT, environment

WATCHED = """
import time
from tasks.core.files import read_json
from tasks.core.messages import SUPERVISED
from tasks.core.supervision import watch_supervisor
watch_supervisor()
print('up', flush=True)
time.sleep({})
"""


def watched(seconds, **more):
    command = [sys.executable, "-c", WATCHED.format(seconds)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, env=environment(**more), stdin=pipe, stdout=pipe, text=True)


def test_a_supervised_stage_dies_with_its_input():
    process = watched(60, **{SUPERVISED: "run"})
    assert process.stdout.readline() == "up\n"
    process.stdin.close()
    assert process.wait(2) == EXIT_ORPHANED


def test_an_unsupervised_stage_outlives_its_input():
    process = watched(0.5)
    process.stdin.close()
    assert process.wait(10) == 0


def test_two_stages_of_one_checkout_are_kept_apart(tmp_path, monkeypatch):
    monkeypatch.setattr("tasks.core.supervision.LOCK_WAIT", 0.1)
    with stage_lock(tmp_path), raises(RootstockError, "stage-locked"), stage_lock(tmp_path):
        pass
    with stage_lock(tmp_path):
        pass


def test_a_night_that_computes_little_leaves_the_measurement_of_much(paths):
    def kept(done):
        record(paths, "features", 1.0, {}, lambda done=done: {"done": done})
        assert read_json(paths.report("features"))["stage"] == "features"
        return read_json(measured_file(paths, "features"))["done"]

    assert [kept(done) for done in (5, 1000, 3, 0, 501, None, 700)] == [5, 1000, 1000, 1000, 501, None, 700]
