"""The names of files on a server, which may be hostile: checked before a file with such a name is written."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any

from flows.stages.dvc_versions import is_left_out
from tasks.core.errors import DataRefusedError

MAX_BYTES = 255  # of a part of a path
MAX_PATH_BYTES = 1024  # below a folder of this machine, whose own path counts as well
SHOWN = 5


Info = Mapping[str, Any]  # what fsspec tells of a file


def checked(address: str, files: Mapping[str, Info], *, blind: bool) -> dict[str, Info]:
    """Returns the files by relative path, without hidden ones and without the empty objects that mark folders.

    `blind` says that the file system of this machine does not distinguish upper and lower case. Raises
    DataRefusedError, with the first five names, if one would lie outside of the folder, cannot be a file here, or
    would replace another file.
    """
    folders = {folder for name in files for folder in folders_of(name)}
    empty = {name for name in files if not files[name].get("size")}
    markers = {name for name in empty if not name or name.endswith("/") or name in folders}
    rest = {name: file for name, file in files.items() if name not in markers}
    problems = [*_problems(rest, folders), *(_collisions(rest) if blind else ())]
    if problems:
        more = f", and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
        raise DataRefusedError(
            f"data.source: {address}: files that cannot be stored under their names: {'; '.join(problems[:SHOWN])}"
            f"{more}; rename them, or give the address of a folder without them",
            key="source-names",
        )
    return {name: file for name, file in rest.items() if not any(map(is_left_out, name.split("/")))}


def folders_of(name: str) -> Iterator[str]:
    """Yields the folders that a file lies in, from the outermost: `a` and `a/b` for a/b/c.jpg."""
    return accumulate(name.split("/")[:-1], lambda folder, part: f"{folder}/{part}")


def problem_of(name: str) -> str | None:
    """Returns why no file may have this relative path, or None."""
    parts = name.split("/")
    if any(part in {"", ".", ".."} for part in parts):
        return "a part is empty, . or .."
    if "\\" in name or any(unicodedata.category(character) in {"Cc", "Cs"} for character in name):
        return "a backslash or a control character"
    if len(name.encode()) > MAX_PATH_BYTES or any(len(part.encode()) > MAX_BYTES for part in parts):
        return "too long"
    return None


def _problems(files: Iterable[str], folders: set[str]) -> Iterator[str]:
    for name in files:
        if reason := problem_of(name) or ("both a file and a folder" if name in folders else None):
            yield f"{name!a} ({reason})"


def _collisions(files: Iterable[str]) -> Iterator[str]:
    """Yields names that differ only in case or in Unicode's form, in a part of their paths."""
    paths = {path for name in files for path in (*folders_of(name), name)}
    times = Counter(map(_folded, paths))
    twice = (path for path in sorted(paths) if times[_folded(path)] > 1)
    yield from (f"{path!a} (differs from another only in case)" for path in twice)


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()
