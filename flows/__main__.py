"""The commands behind the Makefile: python -m flows retrain --data.source ../my-images."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flows.commands import approve, clean, doctor, down, env, prune, release, rollback, serve, trust, up
from flows.local.environment import CHECKOUT
from flows.local.git import check_repository
from flows.local.interruption import remember_interrupts
from tasks.core import interpreter
from tasks.core.errors import EXIT_BROKEN, EXIT_INTERRUPTED, EXIT_USAGE, RootstockError, as_user_error
from tasks.hardware.heap import reuse_freed_memory
from tasks.hardware.torchvision_import import without_compiler

if TYPE_CHECKING:
    from flows.config.parameters import FlowParams


def retrain(arguments: Sequence[str]) -> int:
    """Runs the whole flow on the running Prefect server, or on a temporary one. Returns the verdict's exit code."""
    from flows.config.overrides import overridden

    check_repository()
    with overridden(arguments, "retrain", _check_names), _prefect("retrain") as details:
        from flows.retrain import retrain as flow

        result = flow()
    print(f"{result.text}\n{details}")
    return result.exit_code


def data(arguments: Sequence[str]) -> None:
    """Only imports images and weights; `dvc repro` can then run the stages."""
    from flows.config.overrides import overridden
    from flows.config.parameters import load
    from flows.sources.images import bring_in

    check_repository()
    with overridden(arguments, "data", _check_names):
        for name, outcome in bring_in(load()).items():
            print(f"{name} {outcome}")


def choose(arguments: Sequence[str]) -> None:
    """Compares the candidates for the backbone again, on the images as they are now, and pins the choice."""
    from flows.choose import choose as again
    from flows.config.overrides import overridden
    from flows.config.parameters import load

    check_repository()
    with overridden(arguments, "choose", _check_names):
        print(again(load()))


def predict(arguments: Sequence[str]) -> None:
    """Runs a registered model on an image, a folder or a table of images."""
    import argparse

    parser = argparse.ArgumentParser(prog="make predict ARGS=...", description=predict.__doc__)
    parser.add_argument("source", help="an image, a folder of images, or a .csv or .parquet file with a column path")
    parser.add_argument("--model", help="alias or number of a version; the default is predict.model of params.yaml")
    parser.add_argument("--out", help="output folder; the default is data/predicted/<name of the source>")
    options = parser.parse_args(arguments)
    from flows.registry.predictions import answer

    print(answer(options.source, options.model, options.out, print))


def backbone(arguments: Sequence[str]) -> None:
    """Pretrains the embedded backbone again."""
    from flows.config.overrides import overridden

    with overridden(arguments, "pretrain"), _prefect("pretrain") as details:
        from flows.pretrain import pretrain

        text = pretrain()
    print(f"{text}\n{details}")


def compare(arguments: Sequence[str]) -> int:
    """Compares models on data sets over seeds. Returns exit code 1 if a trial failed."""
    from flows.config.overrides import overridden

    with overridden(arguments, "compare"), _prefect("compare") as details:
        from flows.compare import compare as flow

        comparison = flow()
    print(f"\n{comparison.text}\n{details}")
    return 1 if comparison.failed else 0


def _check_names(params: FlowParams) -> None:
    from flows.sources.names import check_names

    check_names(params)


@contextmanager
def _prefect(name: str) -> Iterator[str]:
    """Runs the block with a Prefect server, and shows the run that it starts. Yields the line that names the log.

    The server starts while modules are imported; prefect reads its address when it is imported.
    """
    from flows.local.prefect_api import prefect_api
    from tasks.core.paths import PathsParams

    ready = prefect_api()
    import prefect  # noqa: F401 - it replaces the handlers of the root logger

    from flows.local.display import details, display

    file = PathsParams.load().paths.state / "logs" / f"{name}.log"
    with display(file), _in_words():
        ready()
        yield details(file)


@contextmanager
def _in_words() -> Iterator[None]:
    """Raises RootstockError if the block fails because Prefect's server does not answer any more."""
    import httpx

    try:
        yield
    except httpx.HTTPError as error:
        raise RootstockError(
            f"Prefect's server at {os.environ['PREFECT_API_URL']} does not answer any more ({error}); finished stages "
            "and versions are kept, and the next run goes on from them",
            key="prefect-unreachable",
        ) from None


RUNS = (retrain, data, choose, predict, compare, backbone)
COMMANDS: dict[str, Callable[[Sequence[str]], int | None]] = {
    command.__name__: command
    for command in (*RUNS, release, rollback, approve, trust, prune, up, serve, env, down, clean, doctor)
}


def main(arguments: Sequence[str]) -> int:
    """Runs a command in the repository root. Returns its exit code; user errors are printed without a traceback."""
    os.chdir(CHECKOUT)
    if not arguments or arguments[0] not in COMMANDS:
        print(f"usage: python -m flows {'|'.join(COMMANDS)} [--section.key value ...]", file=sys.stderr)
        return EXIT_USAGE
    try:
        return COMMANDS[arguments[0]](arguments[1:]) or 0
    except BrokenPipeError:  # the reader of the output, such as head, has ended
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_BROKEN
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a second one ends the process at once, without a traceback
        over_echo = "\r" if sys.stderr.isatty() else ""  # the terminal has written ^C
        print(f"{over_echo}interrupted: what was computed is kept; run the command again to go on", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        user_error = as_user_error(error)
        if user_error is None:
            raise
        print(f"error: {user_error}", file=sys.stderr)
        return user_error.exit_code


if __name__ == "__main__":
    remember_interrupts()
    without_compiler()
    reuse_freed_memory()
    interpreter.run(lambda: main(sys.argv[1:]))
