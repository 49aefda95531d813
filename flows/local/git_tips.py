"""What files contain at every commit that a person may return to: branches, tags, stashes, worktrees and HEAD."""

from __future__ import annotations

import subprocess
from pathlib import PurePosixPath


def contents_at_tips(*patterns: str) -> list[str]:
    """Returns the different contents of the files whose path matches a pattern, such as "*.dvc", at any tip."""
    blobs: set[str] = set()
    for commit in _tips():
        for line in _git("ls-tree", "-r", "-z", commit).split("\0"):
            entry, _, path = line.partition("\t")
            if path and any(PurePosixPath(path).match(pattern) for pattern in patterns):
                blobs.add(entry.split()[2])
    return [_git("cat-file", "blob", blob) for blob in sorted(blobs)]


def _tips() -> set[str]:
    """Returns the commits of all references, including remote branches, of all stashes and of all worktrees."""
    references = _git("for-each-ref", "--format=%(objectname)").split()
    stashes = _git("stash", "list", "--format=%H").split()
    worktrees = [line.removeprefix("HEAD ") for line in _git("worktree", "list", "--porcelain").splitlines()]
    return {*references, *stashes, *(line for line in worktrees if len(line) == 40 and line.isalnum())}


def _git(*arguments: str) -> str:
    """Returns the output of a git command; empty if it fails, as outside of a repository."""
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, errors="replace", check=False)
    return done.stdout if done.returncode == 0 else ""
