"""Versioning of data and artifacts: only `dvc` here calls DVC, always as a child process.

dvc.lock and .dvc files are read as plain YAML, without DVC, so that reads never wait for DVC's own lock.
"""

from __future__ import annotations

import errno
import json
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from tasks.core.errors import DamagedFileError, RootstockError
from tasks.core.schema import STAGES

LOCK = Path("dvc.lock")
DVC = (sys.executable, str(Path(__file__).with_name("dvc_command.py")))
REMOTE = {"push", "pull", "fetch"}  # commands that use the remote
GROUPS = {"dvc-s3": "s3", "dvc-gs": "gcs", "dvc-azure": "azure", "dvc-ssh": "ssh"}  # targets of make that install it
PACKAGE = re.compile(r"requires '(dvc-[\w-]+)' to be installed")


class DvcError(RootstockError):
    """A DVC command failed."""


def dvc(*arguments: str) -> str:
    """Runs a DVC command and returns its standard output. Raises DvcError with DVC's message if it fails."""
    done = subprocess.run([*DVC, *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise _failure(arguments, (done.stderr.strip() or done.stdout.strip()).partition("\n\nHaving any troubles?")[0])
    return done.stdout


def _failure(arguments: Sequence[str], reason: str) -> DvcError:
    """Returns the error of a command, with what to do about a full disk, a missing package or a lost remote."""
    key, remedy = "dvc-failed", ""
    if f"[Errno {errno.ENOSPC}]" in reason:
        key, remedy = "disk-full", "free some space: make clean removes what can be computed again"
    elif package := PACKAGE.search(reason):
        group = GROUPS.get(package[1])
        install = f"run make {group}" if group else f"uv pip install --python .venv/bin/python {package[1]}"
        key, remedy = "dvc-package-missing", f"install {package[1]}: {install}"
    elif arguments[0] in REMOTE:
        key = "dvc-remote"
        remedy = f"check that the remote can be reached: {_remotes()}. What was computed is kept: run the command again"
    return DvcError("\n".join(filter(None, [f"dvc {' '.join(arguments)} failed:", reason, remedy])), key=key)


def _remotes() -> str:
    """Returns the names and addresses of the remotes, as DVC lists them."""
    listed = subprocess.run([*DVC, "remote", "list"], capture_output=True, text=True, check=False).stdout
    return ", ".join(" ".join(line.split()) for line in listed.splitlines()) or "there is none; add one: dvc remote add"


def refuse_edits(target: Path) -> None:
    """Raises RootstockError if a copy made by `track` was edited by hand."""
    _refuse_edits(_status(str(dvc_file(target))))


def outdated(*inputs: Path) -> list[str]:
    """Returns the stages to run, in order: the first stage that DVC reports as changed, and all later stages.

    DVC reports only stages whose inputs have already changed, not those whose inputs a rerun will change. Other files
    that the user tracks with DVC are ignored. Raises RootstockError if an input was edited by hand.
    """
    changed = _status(*STAGES, *(str(dvc_file(target)) for target in inputs))
    _refuse_edits(changed)
    return list(STAGES[min((STAGES.index(name) for name in changed), default=len(STAGES)) :])


def _status(*targets: str) -> dict[str, Any]:
    changed: dict[str, Any] = json.loads(dvc("status", "--json", *targets))
    return changed


def _refuse_edits(changed: dict[str, Any]) -> None:
    edited = [file.removesuffix(".dvc") for file in changed if file.endswith(".dvc")]
    if edited:
        raise RootstockError(
            f"{', '.join(edited)}: edited by hand. This is Rootstock's copy: edit the source instead, and restore the "
            f"copy: dvc checkout --force {' '.join(edited)}",
            key="edited-by-hand",
        )


def reproduction(stage: str) -> list[str]:
    """Returns the command that brings one stage up to date, for the supervisor to run."""
    return [*DVC, "repro", "--single-item", stage]


def restore(stage: str) -> None:
    """Restores the last good results of a stage, if there are any."""
    if stage in locked_stages():
        dvc("checkout", "--force", stage)


def accept(stage: str) -> None:
    """Records a stage's present dependencies and results as up to date, for a change that cannot alter its results."""
    dvc("commit", "--force", stage)


def push() -> None:
    """Pushes the current versions and the run cache to the default remote."""
    dvc("push", "--run-cache")


def remote_url() -> str | None:
    """Returns the address of the default remote, absolute if it is a folder; None without one."""
    settings = dict(line.partition("=")[::2] for line in dvc("config", "--list").splitlines())
    address = settings.get(f"remote.{settings.get('core.remote')}.url")
    return address if address is None or "://" in address else str(Path(".dvc", address).resolve())


def locked_stages() -> dict[str, Any]:
    """Returns the entries of dvc.lock by stage; empty before the first run."""
    with _readable(LOCK):
        lock = _parsed(LOCK.read_text(encoding="utf-8")) if LOCK.exists() else None
        return dict(lock["stages"]) if lock else {}


def out_md5s(stage: str) -> dict[str, str]:
    """Returns the MD5 of each of a stage's outputs by path, as recorded in dvc.lock."""
    return {out["path"]: out["md5"] for out in locked_stages().get(stage, {}).get("outs", [])}


def tracked_md5(target: Path) -> str:
    """Returns the MD5 of a file or folder copied by `track`."""
    return str(tracked(target)["md5"])


def tracked(target: Path) -> dict[str, Any]:
    """Returns what DVC has recorded of a copy made by `track`: MD5, size, and a folder's number of files."""
    with _readable(dvc_file(target)):
        entry = YAML(typ="safe").load(dvc_file(target))["outs"][0]
        return {**entry, "md5": str(entry["md5"])}


@lru_cache(maxsize=1)
def _parsed(text: str) -> Any:  # noqa: ANN401 - any YAML value
    """Parses YAML; each stage's result is what the next one starts from, so half of the reads are the same."""
    return YAML(typ="safe").load(text)


@contextmanager
def _readable(file: Path) -> Iterator[None]:
    """Raises DamagedFileError if the block cannot make sense of one of DVC's files."""
    try:
        yield
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError) as error:
        first = f"{type(error).__name__}: {error}".partition("\n")[0]
        raise DamagedFileError(
            f"{file} is damaged ({first}); restore it (git checkout {file}), or remove it and run again",
            key="file-damaged",
        ) from None


def dvc_file(target: Path) -> Path:
    """Returns the path of the .dvc file that records the version of `target`."""
    return target.with_name(target.name + ".dvc")
