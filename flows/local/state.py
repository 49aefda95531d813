"""The folder paths.state: marked when Rootstock creates it, and emptied of what Rootstock keeps there, nothing else."""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from pathlib import Path

from tasks.core.errors import RootstockError
from tasks.core.files import make_private, remove, write_text

MARKER = "CACHEDIR.TAG"  # backup programs leave out a folder that contains it (https://bford.info/cachedir)
MARKER_TEXT = (
    "Signature: 8a477f597d28d172789f06886806bc55\n"
    "# Rootstock created this folder (paths.state of params.yaml); make clean removes what Rootstock keeps here.\n"
)
EVIDENCE = frozenset(  # at least one is in a folder that an earlier version, without a marker, created
    {"facts.json", "flow.json", "flow.lock", "reports", "result.md", "run.json", "servers.json", "stage.lock"}
)
CHILDREN = EVIDENCE | {
    *("answers", "bench", "checkpoints", "compare", "dvc-server", "failed", "facts", "features", "flow_run.json"),
    *(
        "logs",
        "peers",
        "pictures",
        "predict",
        "prune.json",
        "report.md",
        "review",
        "serve",
        "soak",
        "source",
        "stage-server",
    ),
    *("worktrees", MARKER),
}
TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp")  # see tasks.core.files.replacing
SHOWN = 5  # names in a message


def open_state(state: Path) -> None:
    """Creates and marks the folder. One that exists and holds anything stays as it is."""
    if make_private(state) or not any(state.iterdir()):
        write_text(state / MARKER, MARKER_TEXT)


def check_ours(state: Path) -> None:
    """Raises RootstockError if Rootstock did not create this folder, or an earlier version shares it with others."""
    names, others = _names(state), _others(state)
    if _is_marked(state) or (names & EVIDENCE and not others):
        return
    holds = f"it holds {listed(others)}" if others else "nothing in it is Rootstock's"
    raise RootstockError(
        f"paths.state: {state.resolve()} was not created by Rootstock, and {holds}: nothing is removed; delete by hand "
        "what you do not need, and set paths.state to a folder of its own",
        key="paths.state",
    )


def empty(state: Path) -> list[str]:
    """Removes what Rootstock keeps in its folder, and the folder if it is then empty. Returns the names left in it."""
    folder, others = state.resolve(), _others(state)
    for name in _names(state) - {*others, MARKER}:
        remove(folder / name)
    if not others and not state.is_symlink():  # .state may be a link to another disk
        shutil.rmtree(folder)
    return others


def listed(names: Collection[str]) -> str:
    """Returns the first names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(sorted(names)[:SHOWN]) + more


def _names(state: Path) -> set[str]:
    return {child.name for child in state.iterdir()}


def _others(state: Path) -> list[str]:
    """Returns the names of what Rootstock does not write."""
    return sorted(name for name in _names(state) if not _is_written_here(name))


def _is_written_here(name: str) -> bool:
    temporary = TEMPORARY.fullmatch(name)
    return (temporary[1] if temporary else name) in CHILDREN


def _is_marked(state: Path) -> bool:
    marker = state / MARKER
    return marker.is_file() and marker.read_bytes() == MARKER_TEXT.encode()
