"""What files contain at every commit that a person may return to: branches, tags, stashes, worktrees and HEAD."""

from __future__ import annotations

from pathlib import PurePosixPath

from flows.local.git import output_of


def contents_at_tips(*patterns: str) -> list[str]:
    """Returns the different contents of the files whose path matches a pattern, such as "*.dvc", at any tip."""
    blobs: set[str] = set()
    for commit in _tips():
        for line in output_of("ls-tree", "-r", "-z", commit).split("\0"):
            entry, _, path = line.partition("\t")
            if path and any(PurePosixPath(path).match(pattern) for pattern in patterns):
                blobs.add(entry.split()[2])
    return [output_of("cat-file", "blob", blob) for blob in sorted(blobs)]


def _tips() -> set[str]:
    """Returns the commits of all references, including remote branches, of all stashes and of all worktrees."""
    references = output_of("for-each-ref", "--format=%(objectname)").split()
    stashes = output_of("stash", "list", "--format=%H").split()
    worktrees = [line.removeprefix("HEAD ") for line in output_of("worktree", "list", "--porcelain").splitlines()]
    return {*references, *stashes, *(line for line in worktrees if len(line) == 40 and line.isalnum())}
