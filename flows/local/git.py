"""What git knows of the code that ran: commit, and whether anything but records of runs differs from it."""

from __future__ import annotations

import subprocess

# Written by the flows themselves, so they make nothing dirty: which data, weights and results are current.
RECORDS = ("dvc.lock", "data/*.dvc", "data/pins.json")
WITHOUT_RECORDS = tuple(f":(exclude){record}" for record in RECORDS)


def commit() -> str:
    """The commit that is checked out; "none" outside of a repository."""
    return _git("rev-parse", "--verify", "--quiet", "HEAD").strip() or "none"


def difference() -> str:
    """What differs from the commit: the diff of tracked files, and the names of untracked ones; empty if clean."""
    untracked = _git("ls-files", "--others", "--exclude-standard", "--", ".", *WITHOUT_RECORDS)
    names = "".join(f"untracked: {name}\n" for name in untracked.splitlines())
    return _git("diff", "HEAD", "--", ".", *WITHOUT_RECORDS) + names


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, errors="replace", check=False).stdout
    except FileNotFoundError:
        return ""
