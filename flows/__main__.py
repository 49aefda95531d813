"""The commands behind the Makefile: python -m flows retrain --data.source ../my-images."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from flows.local.environment import CHECKOUT
from tasks.core.errors import EXIT_USAGE, as_user_error


def retrain(arguments: Sequence[str]) -> int:
    """Runs the whole flow on the running Prefect server, or on a temporary one. Returns the verdict's exit code."""
    from flows.config.overrides import overridden
    from flows.local.servers import prefect_api

    with overridden(arguments, "retrain"):
        ready = prefect_api()
        from flows.local.logs import quiet_console
        from flows.retrain import retrain as flow

        quiet_console()
        ready()
        result = flow()
    print(result.text)
    return result.exit_code


def data(arguments: Sequence[str]) -> None:
    """Only imports images and weights; `dvc repro` can then run the stages."""
    from flows.config.overrides import overridden
    from flows.config.parameters import load
    from flows.sources.images import bring_in

    with overridden(arguments, "data"):
        for name, outcome in bring_in(load()).items():
            print(f"{name} {outcome}")


def predict(arguments: Sequence[str]) -> None:
    """Runs a registered model on an image, a folder or a table of images."""
    import argparse

    parser = argparse.ArgumentParser(prog="make predict ARGS=...", description=predict.__doc__)
    parser.add_argument("source", help="an image, a folder of images, or a .csv or .parquet file with a column path")
    parser.add_argument("--model", help="alias or number of a version; the default is predict.model of params.yaml")
    parser.add_argument("--out", help="output folder; the default is data/predicted/<name of the source>")
    options = parser.parse_args(arguments)
    from flows.predict import answer

    print(answer(options.source, options.model, options.out, print))


def release(_arguments: Sequence[str]) -> None:
    """Handles pending promotion requests now instead of within a minute."""
    from flows.config import parameters
    from flows.registry.ledger import describe
    from flows.registry.promotion import reconcile

    params = parameters.load()
    entries = reconcile(params.register_.model, person_decides=params.gate.person_decides)
    print("\n".join(map(describe, entries)) or "nothing to release: there is no pending request")


def rollback(_arguments: Sequence[str]) -> None:
    """Makes the previous live version live again."""
    from flows.config import parameters
    from flows.registry.ledger import describe
    from flows.registry.promotion import roll_back

    print(describe(roll_back(parameters.load().register_.model)))


def up(_arguments: Sequence[str]) -> None:
    """Starts the Prefect and MLflow servers and a worker, and prints their addresses."""
    from flows.local.servers import up as start

    for name, address in start().items():
        print(f"{name:<8} {address}")


def down(_arguments: Sequence[str]) -> None:
    """Stops what `up` started."""
    from flows.local.servers import down as stop

    print(f"stopped: {', '.join(stop()) or 'nothing was running'}")


def clean(_arguments: Sequence[str]) -> None:
    """Removes .state, unless a flow is running."""
    import shutil

    from flows.local.lock import flow_lock
    from tasks.core.paths import PathsParams

    state = PathsParams.load().paths.state
    with flow_lock(state, "clean"):
        shutil.rmtree(state.resolve())  # .state may be a link to another disk
        if state.is_symlink():
            state.resolve().mkdir()


def doctor(_arguments: Sequence[str]) -> None:
    """Checks the machine, the packages, params.yaml, locks and ports."""
    from flows.doctor import examine

    print(examine())


def backbone(arguments: Sequence[str]) -> None:
    """Pretrains the embedded backbone again."""
    from flows.config.overrides import overridden
    from flows.local.servers import prefect_api

    with overridden(arguments, "pretrain"):
        ready = prefect_api()
        from flows.local.logs import quiet_console
        from flows.pretrain import pretrain

        quiet_console()
        ready()
        print(pretrain())


def compare(arguments: Sequence[str]) -> int:
    """Compares models on data sets over seeds. Returns exit code 1 if a trial failed."""
    from flows.config.overrides import overridden
    from flows.local.servers import prefect_api

    with overridden(arguments, "compare"):
        ready = prefect_api()
        from flows.compare import compare as flow
        from flows.local.logs import quiet_console

        quiet_console()
        ready()
        comparison = flow()
    print(f"\n{comparison.text}")
    return 1 if comparison.failed else 0


COMMANDS: dict[str, Callable[[Sequence[str]], int | None]] = {
    command.__name__: command
    for command in (retrain, data, predict, compare, release, rollback, up, down, clean, doctor, backbone)
}


def main(arguments: Sequence[str]) -> int:
    """Runs a command in the repository root. Returns its exit code; user errors are printed without a traceback."""
    os.chdir(CHECKOUT)
    if not arguments or arguments[0] not in COMMANDS:
        print(f"usage: python -m flows {'|'.join(COMMANDS)} [--section.key value ...]", file=sys.stderr)
        return EXIT_USAGE
    try:
        return COMMANDS[arguments[0]](arguments[1:]) or 0
    except Exception as error:
        user_error = as_user_error(error)
        if user_error is None:
            raise
        print(f"error: {user_error}", file=sys.stderr)
        return user_error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
