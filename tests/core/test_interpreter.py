"""A command's process ends at once, but with all that its modules promise to do at the end."""

from __future__ import annotations

import json

import pytest

from tests.project import ROOT, run_python

COMMAND = """
import atexit, sys, threading, time
from tasks.core import interpreter

atexit.register(print, "earlier exit handler")

class Kept:
    def __del__(self):
        print("taken apart")

kept = Kept()

def command():
    atexit.register(print, "exit handler")
    threading.Thread(target=lambda: (time.sleep(0.3), print("thread"))).start()
    sys.stdout.write("no newline, ")
    {}

interpreter.run(command)
"""


HANDLERS = "no newline, thread\nexit handler\nearlier exit handler\n"
ENDS = {  # exit code, output and error
    "return 0": (0, HANDLERS, ""),
    "return 4": (4, HANDLERS, ""),
    "raise ValueError('no')": (1, f"{HANDLERS}taken apart\n", "ValueError: no"),
    "sys.exit(2)": (2, f"{HANDLERS}taken apart\n", ""),
}


@pytest.mark.parametrize("end", ENDS)
def test_threads_and_exit_handlers_end_as_usual(end):
    code, output, error = ENDS[end]
    done = run_python(ROOT, "-c", COMMAND.format(end))
    assert (done.returncode, done.stdout) == (code, output)
    assert error in done.stderr
    assert bool(done.stderr) == bool(error)


def test_garbage_is_collected_as_usual_after_the_imports():
    report = (
        "import gc, json; from tasks.core.interpreter import *; first = gc.get_threshold(); end_of_imports(); "
        "untouched = gc.get_freeze_count(); "
        "run(lambda: [print(json.dumps([first, untouched, gc.get_threshold()[0]])), end_of_imports(), "
        "print(json.dumps([gc.get_threshold(), gc.get_freeze_count() > 1000])), 0][-1])"
    )
    done = run_python(ROOT, "-c", report)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines == [[[700, 10, 10], 0, 100_000], [[700, 10, 10], True]], done.stderr


def test_a_full_disk_is_reported_as_usual():
    script = "import sys; from tasks.core.interpreter import run; sys.stdout = open('/dev/full', 'w'); "
    done = run_python(ROOT, "-c", script + "run(lambda: print('lost') or 0)")
    assert done.returncode == 120
    assert "No space left on device" in done.stderr
