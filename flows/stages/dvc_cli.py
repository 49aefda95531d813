"""Versions of data and artifacts: the only caller of DVC, always as a child process.

DVC's lock is a plain YAML file, read here without DVC, so that reading never waits for a stage that writes.
"""

from __future__ import annotations

import errno
import json
import subprocess
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from tasks.core.errors import RootstockError
from tasks.core.schema import STAGES

LOCK = Path("dvc.lock")


class DvcError(RootstockError):
    """DVC could not do what it was asked to."""


def dvc(*arguments: str) -> str:
    """The standard output of a DVC command. Raises DvcError with what it printed if it fails."""
    done = subprocess.run(["dvc", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        reason = (done.stderr.strip() or done.stdout.strip()).partition("\n\nHaving any troubles?")[0]
        if f"[Errno {errno.ENOSPC}]" in reason:
            reason += "\nfree some; make clean removes what can be made again"
        raise DvcError(f"dvc {' '.join(arguments)} failed:\n{reason}")
    return done.stdout


def track(source: Path, target: Path) -> None:
    """Brings a file or folder from anywhere in as `target`, versioned in DVC's cache; an earlier one is replaced."""
    # DVC cuts the names of the files short where an absolute source has "..": it must be resolved. Without --force it
    # refuses a source that is named like a folder of the target. It looks at the source without .dvcignore: the
    # version is that of the copy, which is without hidden files such as .DS_Store.
    dvc("add", "--force", "--out", str(target), str(source.resolve()))
    dvc("commit", "--force", str(dvc_file(target)))


def refuse_edits(target: Path) -> None:
    """Raises RootstockError if what `track` brought in was changed by hand."""
    _refuse_edits(_status(str(dvc_file(target))))


def outdated(*inputs: Path) -> list[str]:
    """The stages that are to be run, in order: the first that DVC lists, and every one after it.

    DVC lists only stages whose inputs changed; what follows from them is known once they have run. What else it tracks
    is a person's own. Raises RootstockError if an input was edited by hand.
    """
    listed = _status(*STAGES, *(str(dvc_file(target)) for target in inputs))
    _refuse_edits(listed)
    return list(STAGES[min((STAGES.index(name) for name in listed), default=len(STAGES)) :])


def _status(*targets: str) -> dict[str, Any]:
    listed: dict[str, Any] = json.loads(dvc("status", "--json", *targets))
    return listed


def _refuse_edits(listed: dict[str, Any]) -> None:
    edited = [file.removesuffix(".dvc") for file in listed if file.endswith(".dvc")]
    if edited:
        raise RootstockError(
            f"{', '.join(edited)}: changed by hand. This is Rootstock's copy; change the source instead, "
            f"and bring the copy back: dvc checkout --force {' '.join(edited)}"
        )


def reproduction(stage: str) -> list[str]:
    """The command that brings one stage up to date, for the supervisor to run."""
    return ["dvc", "repro", "--single-item", stage]


def restore(stage: str) -> None:
    """Brings the last good results of a stage back, if it ever had any."""
    if stage in locked_stages():
        dvc("checkout", "--force", "--quiet", stage)


def push() -> None:
    """Copies all that the current state refers to, and the record of runs, to the default remote."""
    dvc("push", "--quiet", "--run-cache")


def locked_stages() -> dict[str, Any]:
    """The entries of dvc.lock by stage; {} before the first run."""
    lock = YAML(typ="safe").load(LOCK) if LOCK.exists() else None
    return dict(lock["stages"]) if lock else {}


def out_md5s(stage: str) -> dict[str, str]:
    """The MD5 of each output of a stage, by path, as dvc.lock has it."""
    return {out["path"]: out["md5"] for out in locked_stages().get(stage, {}).get("outs", [])}


def tracked_md5(target: Path) -> str:
    """The MD5 of a file or folder that `track` brought in."""
    entry = YAML(typ="safe").load(dvc_file(target))
    return str(entry["outs"][0]["md5"])


def dvc_file(target: Path) -> Path:
    """The small file that says which version `target` is."""
    return target.with_name(target.name + ".dvc")
