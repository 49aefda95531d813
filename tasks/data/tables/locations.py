"""Finds the file that each path of a table means, next to the table."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd

from tasks.core.errors import DataRefusedError
from tasks.core.progress import say
from tasks.data.image_files import find
from tasks.data.tables.cells import is_missing, map_cells, rows_of, select_cells

MAX_NAME_BYTES = 255
ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
SAMPLE = 50  # cells that decide whether a column leads to files


def check_paths(file: Path, written: pd.Series) -> None:
    """Raises DataRefusedError for web addresses, and for paths that no file can have. `written` may contain NA."""
    addresses = select_cells(written, lambda path: bool(ADDRESS.match(path)))
    if len(addresses):
        raise DataRefusedError(
            f"data.source: {file}: images are not downloaded: {rows_of(addresses)}; write paths of files",
            key="table-addresses",
        )
    invalid = select_cells(written, _cannot_exist)
    if len(invalid):
        raise DataRefusedError(
            f"data.source: {file}: paths that no file can have: {rows_of(invalid.str.slice(stop=80))}",
            key="table-invalid-path",
        )


def is_there(path: Path | str) -> bool:
    """Returns whether `path` is a file; False for a path that cannot exist on any file system."""
    try:
        return stat.S_ISREG(os.stat(path).st_mode)  # noqa: PTH116 - a million paths take half the time
    except (OSError, ValueError):
        return False


def without_dots(path: str) -> str:
    """Returns the path as `pathlib` writes it, without `./` and `//`."""
    return str(PurePosixPath(path)) if path.startswith(".") or "/." in path or "//" in path else path


class Locations:
    """The files below a table's folder, listed only when a path of the table leads nowhere."""

    def __init__(self, file: Path) -> None:
        self._file, self._folder = file, str(file.parent)
        self._stems: dict[str, set[str]] | None = None

    def lead_to_files(self, cells: pd.Series) -> bool:
        """Returns whether most of the first cells of a column lead to files."""
        sample = [str(cell).strip() for cell in cells[:SAMPLE].tolist() if not is_missing(cell)]
        leads = [bool(path) and (self._as_written(path) is not None or bool(self._by_stem(path))) for path in sample]
        return 2 * sum(leads) > len(leads)

    def resolve(self, written: pd.Series) -> pd.Series:
        """Returns the path of each file: as written, with slashes for backslashes, or completed by a suffix.

        A path without a file stays as written; so does NA. Raises DataRefusedError for a name of several files.
        """
        resolved = map_cells(written, self._as_written)
        completions = map_cells(select_cells(written[resolved.isna()], _is_stem), self._by_stem)
        unclear = select_cells(completions, lambda files: len(files) > 1)
        if len(unclear):
            names = written[unclear.index] + ": " + map_cells(unclear, lambda files: " or ".join(sorted(files)))
            raise DataRefusedError(
                f"data.source: {self._file}: names of several files: {rows_of(names)}; write paths with suffixes",
                key="table-unclear-path",
            )
        completed = map_cells(select_cells(completions, lambda files: len(files) == 1), lambda files: next(iter(files)))
        if len(completed):
            example = f"{written[completed.index[0]]} is {completed.iloc[0]}"
            say(f"{self._file.name}: {len(completed)} names without a suffix were looked up: {example}")
        return resolved.fillna(completed).fillna(written).astype("string")

    def _as_written(self, path: str) -> str | None:
        """Returns the path if there is such a file, with slashes for backslashes if that is needed."""
        if is_there(os.path.join(self._folder, path)):  # noqa: PTH118 - see is_there
            return path
        other = PureWindowsPath(path).as_posix() if "\\" in path else path
        return other if other != path and is_there(self._file.parent / other) else None

    def _by_stem(self, path: str) -> set[str]:
        """Returns the images below the table's folder whose path without suffix ends with `path`."""
        if self._stems is None:
            self._stems = {}
            for image in find(self._file.parent)[0]:
                for ending in _endings(image):
                    self._stems.setdefault(ending, set()).add(image)
        stem = PureWindowsPath(path).as_posix().removeprefix("./")
        exact = {image for image in self._stems.get(stem, set()) if str(PurePosixPath(image).with_suffix("")) == stem}
        return exact or self._stems.get(stem, set())


def _endings(image: str) -> Iterator[str]:
    """Yields the path without its suffix, and without one, two, ... of its first folders."""
    parts = PurePosixPath(image).with_suffix("").parts
    yield from ("/".join(parts[start:]) for start in range(len(parts)))


def _is_stem(path: str) -> bool:
    """Returns whether the path has no suffix of letters, as `circle/000` and `img.007`."""
    return not re.fullmatch(r"\.[A-Za-z][A-Za-z0-9]{1,4}", PurePosixPath(path).suffix)


def _cannot_exist(path: str) -> bool:
    """Returns whether the path cannot exist on any file system: NUL byte, or a component over 255 bytes."""
    return "\0" in path or any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in path.split("/"))
