"""The cores that a process may use."""

from __future__ import annotations

import os

import pytest

from tests.project import ROOT, run_python

COUNT = "from tasks.core.cores import count_cores; print(count_cores())"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system does not limit a process to some cores")
def test_a_process_that_is_limited_to_one_core_counts_one():
    limited = f"import os; os.sched_setaffinity(0, {{min(os.sched_getaffinity(0))}}); {COUNT}"
    assert run_python(ROOT, "-c", limited).stdout == "1\n"


def test_there_are_never_more_than_the_machine_has():
    assert 1 <= int(run_python(ROOT, "-c", COUNT).stdout) <= (os.cpu_count() or 1)
