"""User errors: each has a key; a full or read-only disk is one of them."""

from __future__ import annotations

import ast
import errno
import re
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tasks.core.errors import RootstockError, as_user_error

ROOT = Path(__file__).parents[2]
KEY = re.compile(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)*|[a-z]+(-[a-z]+)*|[A-Z][A-Z_]+")  # parameter, code, variable


def raised() -> list[tuple[str, ast.Call]]:
    """Returns all calls of our error classes, with their locations."""
    files = [file for folder in ("tasks", "flows") for file in (ROOT / folder).rglob("*.py")]
    assert len(files) > 100
    return [
        (f"{file.relative_to(ROOT)}:{node.lineno}", node)
        for file in files
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
        for node in [node.exc]
        if isinstance(node.func, ast.Name) and node.func.id in kinds()
    ]


def kinds() -> set[str]:
    """Returns the names of RootstockError and all its subclasses."""
    import tasks.embedding.compiled  # noqa: F401 - they define error classes

    classes, names = [RootstockError], set()
    while classes:
        names.add(classes[-1].__name__)
        classes += classes.pop().__subclasses__()
    return names


def test_every_error_of_ours_is_raised_with_a_key():
    places = raised()
    assert len(places) > 100
    assert [place for place, call in places if "key" not in {keyword.arg for keyword in call.keywords}] == []


def test_constant_keys_are_parameters_or_codes():
    keys = {
        keyword.value.value
        for _, call in raised()
        for keyword in call.keywords
        if keyword.arg == "key" and isinstance(keyword.value, ast.Constant)
    }
    assert len(keys) > 50
    assert [key for key in sorted(keys) if not KEY.fullmatch(key)] == []


@pytest.mark.parametrize(
    ("number", "key"),
    [
        (errno.ENOSPC, "disk-full"),
        (errno.EDQUOT, "disk-full"),
        (errno.EROFS, "no-access"),
        (errno.EACCES, "no-access"),
        (errno.EPERM, "no-access"),
    ],
)
def test_a_full_or_read_only_disk_is_a_users_error(number, key):
    error = as_user_error(OSError(number, "why", "data/head"))
    assert error is not None
    assert error.key == key
    assert "data/head" in str(error)


def test_a_full_disk_is_a_users_error_also_in_libraries_that_have_errors_of_their_own(tmp_path):
    with pytest.raises(SafetensorError) as caught:
        save_file({"x": np.zeros(9)}, tmp_path / "missing" / "x.safetensors")
    text = str(caught.value).replace("(os error 2)", f"(os error {errno.ENOSPC})")
    assert as_user_error(caught.value) is None
    for error in (SafetensorError(text), sqlite3.OperationalError("database or disk is full")):
        assert as_user_error(error).key == "disk-full"


def test_a_bug_is_no_users_error():
    assert as_user_error(OSError(errno.EIO, "I/O error")) is None
    assert as_user_error(ValueError("a bug")) is None


LIMITED = """
import resource, sys
import numpy, torch
from tasks.core.errors import as_user_error
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + 2**26, used + 2**26))
try:
    {allocation}
except Exception as error:
    print(as_user_error(error).key)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the address space of a process")
@pytest.mark.parametrize("allocation", ["torch.ones(2**28)", "numpy.ones(2**28)", "bytearray(2**30)"])
def test_full_memory_is_a_user_error(allocation):
    """Allocates 1 GiB in a process that may take 64 MiB more."""
    command = [sys.executable, "-c", LIMITED.format(allocation=allocation)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "memory-full\n"
