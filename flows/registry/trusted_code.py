"""Which code of a version may run: scorers in a committed list, those registered here, and those a person has allowed.

Whoever can write to MLflow can register any code, with any tags.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path

from filelock import FileLock

from flows.local.environment import REGISTRY
from tasks.core.errors import RootstockError
from tasks.core.files import write_text
from tasks.evaluation.scorer_code import CodeLoader

SHIPPED = Path(__file__).with_name("scorers.txt")
ALLOWED = REGISTRY / "trusted_code.txt"  # of this machine; a line starts with a digest


def code_digest(code: Mapping[str, bytes]) -> str:
    """Returns the SHA-256 of names and contents of source files, which also names the package that they form."""
    return CodeLoader(code).package.rpartition("_")[2]


def is_trusted(digest: str) -> bool:
    """Returns whether code with this digest may run."""
    return any(digest in _digests(file) for file in (SHIPPED, ALLOWED))


def trust(digest: str, why: str) -> None:
    """Allows code with this digest on this machine from now on."""
    if is_trusted(digest):
        return
    ALLOWED.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(ALLOWED.with_suffix(".lock")):
        before = ALLOWED.read_text(encoding="utf-8") if ALLOWED.exists() else ""
        write_text(ALLOWED, f"{before}{digest}  {time.strftime('%Y-%m-%d')}, {' '.join(why.split())}\n")


def check_trusted(code: Mapping[str, bytes], name: str, number: str) -> None:
    """Raises RootstockError if the code of a version may not run."""
    if not is_trusted(digest := code_digest(code)):
        raise RootstockError(
            f"version {number} of {name} ships code that neither this project nor this machine knows, so it is not run "
            f"(SHA-256 {digest[:16]}...); to look at it and allow it: make trust ARGS={number}",
            key="code-not-trusted",
        )


def _digests(file: Path) -> set[str]:
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return {line.split()[0] for line in lines if line.strip()}
