"""A process that hangs is ended, also if it holds Python's lock."""

from __future__ import annotations

import time

import pytest

from tests.project import ROOT, run_python

PROGRAM = """
import asyncio, ctypes, sys, time
from flows.serving import heartbeat
heartbeat.BEAT, heartbeat.LIMIT = 0.1, 0.5

async def main(how):
    alive = asyncio.create_task(heartbeat.beat(lambda: how != "unwell" or time.monotonic() - began < 0.3))
    await asyncio.sleep(0.3)
    if how == "holds":
        ctypes.PyDLL(None).sleep(60)  # with Python's lock
    await asyncio.sleep(60 if how == "unwell" else 1)
    print("it lived")

began = time.monotonic()
asyncio.run(main(sys.argv[1]))
"""


@pytest.mark.parametrize(("how", "lives"), [("well", True), ("unwell", False), ("holds", False)])
def test_only_a_process_that_hangs_is_ended(how, lives):
    began = time.monotonic()
    done = run_python(ROOT, "-c", PROGRAM, how)
    assert ("it lived" in done.stdout) is lives
    assert (done.returncode == 0) is lives
    assert ("Timeout" in done.stderr) is not lives, "the stacks are in the log"
    assert time.monotonic() - began < 50
