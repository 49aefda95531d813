"""Runs stages in this process: imports what they need, holds the stage lock, and records what they took."""

from __future__ import annotations

import argparse
import dis
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from dataclasses import asdict
from functools import partial
from importlib import import_module
from inspect import get_annotations, isfunction
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn

from tasks.core import interpreter
from tasks.core.errors import EXIT_BROKEN, RootstockError, as_user_error
from tasks.core.params import PARAMS_FILE, read_document, values_of
from tasks.core.paths import PathsParams
from tasks.core.schema import STAGES
from tasks.core.sizing import SizingParams
from tasks.core.supervision import is_first, record, record_error, stage_lock, torchrun_size, watch_supervisor
from tasks.hardware.heap import reuse_freed_memory
from tasks.hardware.torchvision_import import without_compiler


def run_here(arguments: list[str]) -> NoReturn:
    """Runs the stages that the arguments of the command name, and ends this process with their exit code."""
    parser = argparse.ArgumentParser(prog="python -m tasks", description="Runs stages, in this order.")
    parser.add_argument("names", nargs="+", choices=STAGES, metavar="stage", help=", ".join(STAGES))
    names = parser.parse_args(arguments).names
    _prepare()
    interpreter.run(lambda: main(names))


def imports(names: list[str]) -> Iterator[None]:
    """Imports what the stages need, one after the other, and yields after each."""
    _prepare()
    for name in names:
        with suppress(Exception):  # the stage meets it again, and says so
            import_stage(name)
        yield


def _prepare() -> None:
    """Prepares this process for imports of torchvision and for tensors."""
    without_compiler()
    reuse_freed_memory()


def main(names: list[str]) -> int:
    """Runs the named stages in order. Returns the exit code."""
    watch_supervisor()
    for name in names:
        try:
            run(name)
        except Exception as error:
            user_error = as_user_error(error)
            if user_error is None:
                if is_first():
                    record_error(name, f"{type(error).__name__}: {error}", "", EXIT_BROKEN)
                raise
            if is_first():
                record_error(name, str(user_error), user_error.key, user_error.exit_code)
            print(f"error: {name}: {user_error}", file=sys.stderr)
            return user_error.exit_code
    return 0


def run(name: str) -> None:
    """Runs one stage under the stage lock and records its report. Raises RootstockError if the stage is locked."""
    paths = PathsParams.load().paths
    stage = getattr(import_stage(name), name)  # excluded from the recorded time
    interpreter.end_of_imports()
    params = get_annotations(stage, eval_str=True)["params"].load()
    if torchrun_size() and name != "finetune":
        raise RootstockError(
            "only finetune can run under torchrun; run the other stages with python -m tasks", key="torchrun-stage"
        )
    with stage_lock(paths.state) if is_first() else nullcontext():
        sizing = dict(values_of(read_document(PARAMS_FILE), SizingParams.sections()))
        started = time.perf_counter()
        report = stage(paths, params)
        if is_first():
            seconds, numbers = time.perf_counter() - started, report.model_dump()
            record(paths, name, seconds, numbers, partial(basis, paths.manifest, sizing, numbers))


def import_stage(name: str) -> ModuleType:
    """Imports a stage's module, and what its functions import when they are called. Returns the module."""
    module = import_module(f"tasks.{name}")
    import_dependencies(module)
    return module


def basis(manifest: Path, sizing: dict[str, Any], report: dict[str, Any]) -> dict[str, Any]:
    """Returns what a stage's cost was measured with: the images, the parameters, and how many images it computed."""
    from tasks.data.counts import count_images

    counts = asdict(count_images(manifest)) if manifest.exists() else None
    return {"counts": counts, "params": sizing, "done": report.get("embedded", report.get("new"))}


def import_dependencies(module: ModuleType) -> None:
    """Imports up front the modules that functions in `module` import lazily to keep `module` cheap to import."""
    functions = [
        member for member in vars(module).values() if isfunction(member) and member.__module__ == module.__name__
    ]
    for instruction in chain.from_iterable(map(dis.get_instructions, functions)):
        if instruction.opname == "IMPORT_NAME":
            import_module(instruction.argval)
