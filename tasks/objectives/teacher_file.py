"""Errors of a teacher's file: it may come from anywhere, and its description may hold anything."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tasks.core.errors import ParamsError


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """Raises ParamsError if the block fails because of the spec or the weights in a teacher's file."""
    try:
        yield
    except (TypeError, LookupError, AttributeError, ValueError, RuntimeError) as error:
        raise ParamsError(
            f"teacher.weights: {file} is no complete registered model ({type(error).__name__}: {error}); use "
            "models:/name@alias, or another file",
            key="teacher.weights",
        ) from None
