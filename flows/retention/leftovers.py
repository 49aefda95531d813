"""Files in .state that only save time, and were made long ago."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from flows.local.environment import MAIN_CHECKOUT
from tasks.core.files import read_json
from tasks.core.paths import Paths


def old_leftovers(paths: Paths, cutoff: float) -> list[Path]:
    """Returns the files and folders that were last changed before `cutoff`, in seconds since 1970.

    These are sources that were rendered, unpacked or downloaded and are not in use now, cached answers, and what failed
    stages left: all of it would be made again.
    """
    used = [(MAIN_CHECKOUT / note["source"]).resolve() for note in _notes(paths.state / "source")]
    places = [path for name in ("source", "answers", "failed") for path in _inside(paths.state / name)]
    leftovers = [path for path in places if path.suffix != ".json" and not _holds(path.resolve(), used)]
    return [path for path in leftovers if path.lstat().st_mtime < cutoff]


def _holds(path: Path, used: list[Path]) -> bool:
    return any(each.is_relative_to(path) for each in used)


def _inside(folder: Path) -> Iterator[Path]:
    return folder.iterdir() if folder.is_dir() else iter(())


def _notes(folder: Path) -> Iterator[dict[str, str]]:
    """Yields the notes of finished imports."""
    for file in folder.glob("*.json"):
        note = read_json(file)
        if "source" in note:
            yield note
