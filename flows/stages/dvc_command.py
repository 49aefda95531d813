"""The command line of DVC, run in a fork of a process that has imported it if there is one. Works in any folder."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NoReturn

if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[2])

from tasks.runner.fork_client import DVC_SERVER, run_in_fork

IMPORTED_LATER = (  # when a command needs them
    *("dvc.repo", "dvc.repo.add", "dvc.repo.reproduce", "dvc.repo.status"),
    *("dvc.stage.cache", "dvc.stage.run"),
)


def imports(_names: list[str]) -> Iterator[None]:
    """Imports the command line and what it imports only when a command needs it."""
    for module in ("dvc.cli", "dvc.cli.parser", *IMPORTED_LATER):
        import_module(module)
    yield


def run_here(arguments: list[str]) -> NoReturn:
    """Runs DVC in this process, and ends it."""
    from dvc.cli import main

    from tasks.core import interpreter

    interpreter.run(lambda: main(arguments))


if __name__ == "__main__":
    run_in_fork(DVC_SERVER, f"dvc {sys.argv[1]}", sys.argv[1:])  # returns if no server runs it
    run_here(sys.argv[1:])
