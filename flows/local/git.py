"""The state of the git checkout: its commit, and local changes to anything except the records that flows write."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from shutil import which

from tasks.core.errors import RootstockError
from tasks.core.redaction import redact

# Flows write these files to record the current data, weights and results, so changes to them do not count.
RECORDS = ("dvc.lock", "data/*.dvc", "data/pins.json")
NO_SCM = re.compile(r"^\s*no_scm\s*=\s*true", re.IGNORECASE | re.MULTILINE)
SETTINGS = (".dvc/config*",)  # may hold the credentials of remotes
EXCLUDED = tuple(f":(exclude){pattern}" for pattern in (*RECORDS, *SETTINGS))


def commit() -> str:
    """Returns the hash of the checked-out commit, or "none" outside a repository."""
    return output_of("rev-parse", "--verify", "--quiet", "HEAD").strip() or "none"


def check_repository() -> None:
    """Raises RootstockError outside of a git repository, which DVC needs unless its option core.no_scm is set."""
    if output_of("rev-parse", "--is-inside-work-tree").strip() == "true":
        return
    settings = [file.read_text(encoding="utf-8") for file in Path(".dvc").glob("config*") if file.is_file()]
    if any(NO_SCM.search(text) for text in settings):
        return
    reason = f"{Path.cwd()} is no git repository" if which("git") else "git is not installed"
    raise RootstockError(
        f"{reason}, which DVC needs to version data: git init && git add -A && git commit -m start", key="no-repository"
    )


def difference() -> str:
    """Returns the diff of tracked files against the commit, and the names of untracked files; empty if clean.

    Ignored files are left out, even tracked ones, as are credentials in addresses.
    """
    untracked = _files("--others", "--exclude-standard", "--", ".", *EXCLUDED)
    names = "".join(f"untracked: {name}\n" for name in untracked)
    ignored = [f":(exclude,literal){name}" for name in _files("--cached", "--ignored", "--exclude-standard")]
    return redact(output_of("diff", "--no-color", "--no-ext-diff", "HEAD", "--", ".", *EXCLUDED, *ignored) + names)


def _files(*arguments: str) -> list[str]:
    """Returns names as they are: without -z, git quotes those with special characters."""
    return [name for name in output_of("ls-files", "-z", *arguments).split("\0") if name]


def output_of(*arguments: str) -> str:
    """Returns the output of a git command; empty if it fails, as outside of a repository, or without git."""
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, errors="replace", check=False).stdout
    except FileNotFoundError:
        return ""
