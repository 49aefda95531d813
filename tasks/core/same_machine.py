"""Refuses work for another machine whose code or packages differ: its results would not be the same bits."""

from __future__ import annotations

import hashlib
import platform
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Generic, TypeVar, cast

from tasks.core.errors import RootstockError

Shard = TypeVar("Shard")
Result = TypeVar("Result")
ROOT = Path(__file__).parents[2]
LOCK = ROOT / "requirements.txt"
OPTIONAL_PACKAGES = ("pillow-heif",)  # optional, and it decides which images can be read
SHOWN = 3  # differences named in an error


@cache
def machine() -> dict[str, str]:
    """Returns the versions of Python and of the packages in requirements.txt, and the digest of the code in tasks/."""
    lines = (line.partition(" ;")[0].strip() for line in LOCK.read_text(encoding="utf-8").splitlines())
    versions = {"Python": ".".join(platform.python_version_tuple()[:2]), "code": _code()}
    for name in (*(line.partition("==")[0] for line in lines if "==" in line), *OPTIONAL_PACKAGES):
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _code() -> str:
    digest = hashlib.sha256()
    for file in sorted((ROOT / "tasks").rglob("*.py")):
        digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:12]


def refuse_difference(expected: Mapping[str, str], actual: Mapping[str, str], worker: str = "") -> None:
    """Raises RootstockError that names the differences between the facts of the client and of a worker, such as this.

    `worker` is its name.
    """
    names = [name for name in dict.fromkeys([*expected, *actual]) if expected.get(name) != actual.get(name)]
    if not names:
        return
    texts = [f"{name} {actual.get(name, 'missing')} instead of {expected.get(name, 'missing')}" for name in names]
    more = f", and {len(texts) - SHOWN} more" if len(texts) > SHOWN else ""
    raise RootstockError(
        f"the worker {worker or platform.node()} has {', '.join(texts[:SHOWN])}{more}, so that its "
        "results would not be the same; stop it, or start it with the same code, packages and kind of processor",
        key="worker-differs",
    )


@dataclass(frozen=True)
class Outcome(Generic[Result]):
    """What a function has returned, or the error that it has raised."""

    value: Result | None = None
    error: Exception | None = None

    def result(self) -> Result:
        """Returns the value, or raises the error."""
        if self.error is not None:
            raise self.error
        return cast("Result", self.value)


@dataclass(frozen=True)
class SameMachine(Generic[Shard, Result]):
    """A function that computes only on machines with these facts."""

    function: Callable[[Shard], Result]
    expected: Mapping[str, str]

    def __call__(self, shard: Shard) -> Outcome[Result]:
        """Returns the function's result or its error, which is RootstockError if this machine differs."""
        try:
            refuse_difference(self.expected, machine())
            return Outcome(self.function(shard))
        except Exception as error:  # so that it cannot be confused with one of Dask's
            error.add_note(traceback.format_exc())
            return Outcome(error=error)
