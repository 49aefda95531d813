"""The commands behind the Makefile: python -m flows retrain --data.source ../my-images."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from flows.local.environment import CHECKOUT
from tasks.core.errors import EXIT_USAGE, as_user_error


def retrain(arguments: Sequence[str]) -> int:
    """The whole flow, on the server that there is or on a temporary one; the exit code of its verdict."""
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
    """Images and weights only; the stages can then be run by dvc repro."""
    from flows.config.overrides import overridden
    from flows.config.parameters import load
    from flows.sources.images import bring_in

    with overridden(arguments, "data"):
        for name, became in bring_in(load()).items():
            print(f"{name} {became}")


def predict(arguments: Sequence[str]) -> None:
    """Answers for a picture, a folder or a manifest, by a registered model."""
    import argparse

    parser = argparse.ArgumentParser(prog="make predict ARGS=...", description=predict.__doc__)
    parser.add_argument("source", help="a picture, a folder of pictures, or a .csv or .parquet file with a column path")
    parser.add_argument("--model", help="an alias or a version's number; the default is predict.model of params.yaml")
    parser.add_argument("--out", help="folder of the answers; the default is data/predicted/<name of the source>")
    given = parser.parse_args(arguments)
    from flows.predict import answer

    print(answer(given.source, given.model, given.out, print))


def release(_arguments: Sequence[str]) -> None:
    """Answers what people wished for in MLflow, at once instead of within a minute."""
    from flows.config import parameters
    from flows.release import reconcile, told

    params = parameters.load()
    entries = reconcile(params.register_.model, person_decides=params.gate.person_decides)
    print("\n".join(map(told, entries)) or "nothing to release: no one asked for another version")


def rollback(_arguments: Sequence[str]) -> None:
    """Makes the version live again that was live before."""
    from flows.config import parameters
    from flows.release import roll_back, told

    print(told(roll_back(parameters.load().register_.model)))


def up(_arguments: Sequence[str]) -> None:
    """Prefect's and MLflow's pages."""
    from flows.local.servers import up as start

    for name, address in start().items():
        print(f"{name:<8} {address}")


def down(_arguments: Sequence[str]) -> None:
    """Stops what up started."""
    from flows.local.servers import down as stop

    print(f"stopped: {', '.join(stop()) or 'nothing was up'}")


def clean(_arguments: Sequence[str]) -> None:
    """Removes .state, unless a flow is at work in it."""
    import shutil

    from flows.local.lock import flow_lock
    from tasks.core.paths import PathsParams

    state = PathsParams.load().paths.state
    with flow_lock(state, "clean"):
        shutil.rmtree(state.resolve())  # it may be a link to another disk
        if state.is_symlink():
            state.resolve().mkdir()


def doctor(_arguments: Sequence[str]) -> None:
    """What this machine has and lacks."""
    from flows.doctor import examine

    print(examine())


def backbone(arguments: Sequence[str]) -> None:
    """The embedded backbone, made again."""
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
    """Models on data sets by seeds; 1 if a cell could not be computed."""
    from flows.config.overrides import overridden
    from flows.local.servers import prefect_api

    with overridden(arguments, "compare"):
        ready = prefect_api()
        from flows.compare import compare as flow
        from flows.local.logs import quiet_console

        quiet_console()
        ready()
        found = flow()
    print(f"\n{found.text}")
    return 1 if found.failed else 0


COMMANDS: dict[str, Callable[[Sequence[str]], int | None]] = {
    command.__name__: command
    for command in (retrain, data, predict, compare, release, rollback, up, down, clean, doctor, backbone)
}


def main(arguments: Sequence[str]) -> int:
    """Runs a command in the repository's root; the exit code. A user's mistake is told in words."""
    os.chdir(CHECKOUT)
    if not arguments or arguments[0] not in COMMANDS:
        print(f"usage: python -m flows {'|'.join(COMMANDS)} [--section.key value ...]", file=sys.stderr)
        return EXIT_USAGE
    try:
        return COMMANDS[arguments[0]](arguments[1:]) or 0
    except Exception as error:
        known = as_user_error(error)
        if known is None:
            raise
        print(f"error: {known}", file=sys.stderr)
        return known.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
