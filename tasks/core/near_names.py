"""Suggests names close to a misspelled one."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path


def did_you_mean(name: str, names: Iterable[str]) -> str:
    """Returns '; did you mean a or b?' with at most three of `names`, or an empty string if none is close."""
    by_fold = {each.casefold(): each for each in names}
    near = [by_fold[each] for each in difflib.get_close_matches(name.casefold(), by_fold, n=3)]
    return f"; did you mean {' or '.join(near)}?" if near else ""


def similar_beside(path: Path) -> str:
    """Returns `did_you_mean` for the name of a missing file or folder, among the names beside it."""
    return did_you_mean(path.name, [each.name for each in path.parent.iterdir()] if path.parent.is_dir() else [])
