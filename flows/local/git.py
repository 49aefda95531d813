"""The state of the git checkout: its commit, and local changes to anything except the records that flows write."""

from __future__ import annotations

import subprocess

# Flows write these files to record the current data, weights and results, so changes to them do not count.
RECORDS = ("dvc.lock", "data/*.dvc", "data/pins.json")
WITHOUT_RECORDS = tuple(f":(exclude){record}" for record in RECORDS)


def commit() -> str:
    """Returns the hash of the checked-out commit, or "none" outside a repository."""
    return _git("rev-parse", "--verify", "--quiet", "HEAD").strip() or "none"


def difference() -> str:
    """Returns the diff of tracked files against the commit, and the names of untracked files; empty if clean."""
    untracked = _git("ls-files", "--others", "--exclude-standard", "--", ".", *WITHOUT_RECORDS)
    names = "".join(f"untracked: {name}\n" for name in untracked.splitlines())
    return _git("diff", "HEAD", "--", ".", *WITHOUT_RECORDS) + names


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, errors="replace", check=False).stdout
    except FileNotFoundError:
        return ""
