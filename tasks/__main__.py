"""Runs stages by name, as dvc.yaml does: python -m tasks features. torchrun -m tasks finetune shares that one out."""

from __future__ import annotations

import argparse
import dis
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from importlib import import_module
from inspect import get_annotations

from tasks.core.errors import EXIT_BROKEN, RootstockError, as_user_error
from tasks.core.paths import PathsParams
from tasks.core.schema import STAGES
from tasks.core.supervision import is_first, record, record_error, stage_lock, torchrun_size, watch_supervisor


def main(names: list[str]) -> int:
    """Runs the named stages in turn; the exit code."""
    watch_supervisor()
    for name in names:
        try:
            run(name)
        except Exception as error:
            known = as_user_error(error)
            if is_first():
                text = str(known) if known else f"{type(error).__name__}: {error}"
                record_error(name, text, known.exit_code if known else EXIT_BROKEN)
            if known is None:
                raise
            print(f"error: {name}: {known}", file=sys.stderr)
            return known.exit_code
    return 0


def run(name: str) -> None:
    """Runs one stage and notes what it reports."""
    paths = PathsParams.load().paths
    stage = getattr(import_module(f"tasks.{name}"), name)
    import_what_is_used_by(stage)  # so that the seconds noted are the stage's own
    params = get_annotations(stage, eval_str=True)["params"].load()
    if torchrun_size() and name != "finetune":
        raise RootstockError("torchrun shares out finetune alone; run the other stages with python -m tasks")
    with stage_lock(paths.state) if is_first() else nullcontext():
        started = time.perf_counter()
        report = stage(paths, params)
        if is_first():
            record(paths, name, time.perf_counter() - started, report.model_dump())


def import_what_is_used_by(stage: Callable[..., object]) -> None:
    """Imports the modules that a stage imports in its body, which keeps params.yaml quick to check."""
    for instruction in dis.get_instructions(stage):
        if instruction.opname == "IMPORT_NAME":
            import_module(instruction.argval)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m tasks", description=__doc__)
    parser.add_argument("names", nargs="+", choices=STAGES, metavar="stage", help=", ".join(STAGES))
    sys.exit(main(parser.parse_args().names))
