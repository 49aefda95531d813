"""Freed memory is used again: the system does not fill the pages of each tensor with zeros."""

from __future__ import annotations

import platform

import pytest

from tests.project import ROOT, run_python

FAULTS = """
import resource, sys, torch  # tensors above 32 MiB, from which glibc reuses none by default
from tasks.hardware.heap import reuse_freed_memory, trimmed
if sys.argv[1] == "reuse":
    reuse_freed_memory()
torch.ones(2**24)
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in trimmed(range(40)) if sys.argv[2] == "trim" else range(40):
    torch.ones(2**24)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(*how: str) -> int:
    done = run_python(ROOT, "-c", FAULTS, *how)
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries take no settings")
def test_freed_memory_is_used_again_until_it_is_trimmed():
    assert faults("reuse", "keep") < faults("default", "keep") / 3
    assert faults("reuse", "trim") > faults("default", "keep") / 2
