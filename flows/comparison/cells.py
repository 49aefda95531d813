"""The cells of a comparison: one model on one data set by one seed, its stages in a folder of its own.

What was measured is kept with a digest of all that it depends on, so that a comparison which was stopped goes on.
"""

from __future__ import annotations

import copy
import hashlib
import json
import resource
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import pandas as pd
from ruamel.yaml import YAML

from flows.config.parameters import FlowParams, check, stage_params
from flows.local.environment import CHECKOUT
from flows.sources.images import images_of, listing
from flows.sources.weights import teacher_of, weights_of
from flows.stages.child import run_supervised, too_late
from tasks.core.digest import code_digest
from tasks.core.errors import ParamsError, RootstockError
from tasks.core.files import read_json, replacing, sha256_of, write_json
from tasks.core.messages import DisplayMessage
from tasks.core.params import PARAMS_FILE, PINS, read_document
from tasks.core.schema import STAGES, VALUE, Candidate, Metric
from tasks.evaluation.requirements import check_attacks_installed

SHARED = ("ingest", "validate")  # stages that depend on the data alone
OWN = ("augment", "features", "head", "finetune", "evaluate")
OF_CELL = "compare:"  # begins a teacher's name: another model of the comparison, on the same data by the same seed
RESULT = "result.json"
DONE = "done"  # the data set is ingested and valid
SHOWN = 10  # lines that a failed cell shows of what was printed


@dataclass(frozen=True)
class Cell:
    """A model on a data set by a seed, each by its name, and what they change of params.yaml."""

    data: str
    model: str
    seed: int
    changes: Mapping[str, Any] = field(hash=False)

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.model} on {self.data}, seed {self.seed}"

    @property
    def folder(self) -> Path:
        """Below the comparison's folder."""
        key = hashlib.sha256(f"{self.data}|{self.model}|{self.seed}".encode()).hexdigest()[:12]
        return Path("cells") / key


@dataclass(frozen=True)
class Score:
    """What a cell came to: a score by its metric, and what it cost; or why there is none."""

    metric: str = ""
    value: float = float("nan")
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    error: str = ""
    reused: bool = False


def cells(params: FlowParams) -> list[Cell]:
    """Every model on every data set by every seed, models in their order. Raises ParamsError for a later teacher."""
    wanted = params.compare
    found: list[Cell] = []
    for model, of_model in wanted.models.items():
        known = [cell.model for cell in found]
        teacher = str(of_model.get("teacher.weights", ""))
        if teacher.startswith(OF_CELL) and teacher.removeprefix(OF_CELL) not in known:
            raise ParamsError(f"compare.models: {model} learns from {teacher}, which must stand before it")
        for data, of_data in wanted.data.items():
            found += [Cell(data, model, seed, {**of_data, **of_model, "seed": seed}) for seed in wanted.seeds]
    return found


def measured(cell: Cell, folder: Path, on_message: Callable[[DisplayMessage], None]) -> Score:
    """The cell's score, computed now or earlier; a cell that cannot be computed says why."""
    place = folder / cell.folder
    try:
        digest = prepared(cell, folder, place)
        kept = place / RESULT
        if kept.exists() and (found := read_json(kept))["digest"] == digest:
            return Score(**{**found["score"], "reused": True})
        kept.unlink(missing_ok=True)
        score = computed(place, on_message)
    except RootstockError as error:
        (place / RESULT).unlink(missing_ok=True)  # nothing may learn from what is not there
        return Score(error=str(error))
    write_json(kept, {"digest": digest, "cell": cell.name, "score": vars(score)})
    return score


def prepared(cell: Cell, folder: Path, place: Path) -> str:
    """The cell's own params.yaml, its sources brought in; a digest of all that its score depends on."""
    document = copy.deepcopy(read_document(PARAMS_FILE))
    teacher = str(cell.changes.get("teacher.weights", ""))
    for name, value in cell.changes.items():
        set_value(document, name, value)
    if teacher.startswith(OF_CELL):
        set_value(document, "teacher.weights", None)
    params = check(document)
    check_attacks_installed(params.evaluate.attacked)
    raw, weights = images_of(params).resolve(), weights_of(params).resolve()
    if not teacher.startswith(OF_CELL):
        brought = teacher_of(params).resolve()
    else:
        brought = as_teacher(folder / Cell(cell.data, teacher.removeprefix(OF_CELL), cell.seed, {}).folder)
        set_value(document, "teacher.weights", teacher)
    if "scratch.run" not in cell.changes:
        set_value(document, "scratch.run", False)  # a model of its own in a comparison
    of_data = [str(raw), listing(raw), *(document[stage] for stage in SHARED), code_of(SHARED)]
    shared = folder / "data" / hashlib.sha256(json.dumps(of_data).encode()).hexdigest()[:12]
    places = {"raw": raw, "pretrained": weights, "teacher": brought, "state": folder / "state"}
    places |= {name: shared / name for name in SHARED}
    for name, where in places.items():
        set_value(document, f"paths.{name}", str(Path(where).absolute()))
    with replacing(place / PARAMS_FILE) as beside, beside.open("w", encoding="utf-8") as out:
        YAML().dump(document, out)
    write_json(place / PINS, {"init": None})
    versions = [installed(package) for package in ("torch", "torchvision", "pillow")]
    read = {key for stage in STAGES for key in stage_params(stage).sections()}
    facts = [{key: document[key] for key in sorted(read)}, versions, code_of(STAGES)]
    facts += [listing(raw), sha256_of(weights), sha256_of(brought)]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def code_of(stages: Sequence[str]) -> str:
    """Returns the digest of the code that `run` runs for these stages."""
    return code_digest("tasks.__main__", *(f"tasks.{stage}" for stage in stages))


def as_teacher(place: Path) -> Path:
    """The tuned model of a cell as a teacher's file. Raises RootstockError if that cell has none."""
    from tasks.models import weights_file as weights
    from tasks.objectives.teacher import SPEC

    if not (place / RESULT).exists():
        raise RootstockError("its teacher could not be computed")
    paths = check(read_document(place / PARAMS_FILE)).paths
    file = (place / "teacher.weights").absolute()
    weights.write(file, weights.read(place / paths.tuned)[0], {SPEC: read_json(place / paths.spec)})
    return file


def computed(place: Path, on_message: Callable[[DisplayMessage], None]) -> Score:
    """Runs the stages, those of the data set only where they have not run yet. Raises RootstockError if one fails."""
    params = check(read_document(place / PARAMS_FILE))
    paths, timeout = params.paths, params.run.timeout
    mark = paths.ingest.parent / DONE
    for stage in OWN:
        shutil.rmtree(place / paths.of(stage), ignore_errors=True)
    if not mark.exists():
        run(place, SHARED, timeout, on_message)
        mark.touch()
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run(place, OWN, timeout, on_message)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    row = read_json(place / paths.metrics)[Candidate.TUNED]
    metric = Metric.ACCURACY if Metric.ACCURACY in row else Metric.R2
    return Score(metric.value, row[metric][VALUE], time.perf_counter() - started, cpu)


def run(place: Path, stages: Sequence[str], timeout: float, on_message: Callable[[DisplayMessage], None]) -> None:
    """Runs stages in one process, in the cell's folder, each for at most `timeout` seconds.

    Raises RootstockError if one fails.
    """
    command = [sys.executable, "-m", "tasks", *stages]
    code, output = run_supervised(command, timeout, on_message, cwd=place, PYTHONPATH=str(CHECKOUT))
    if code is None:
        raise RootstockError(too_late(stages[min(len(output.records), len(stages) - 1)], timeout))
    if code and output.failure:
        raise RootstockError(f"{output.failure.stage}: {output.failure.error}")
    if code:
        silent = f"its stages ended with code {code} and without a word; is there memory enough?"
        raise RootstockError("\n".join([*output.tail][-SHOWN:]) or silent)


def set_value(document: Any, name: str, value: Any) -> None:  # noqa: ANN401 - of a YAML document
    """Sets a parameter by its dotted name. Raises ParamsError if there is none of that name."""
    *sections, key = name.split(".")
    node: Any = document
    for section in sections:
        node = node.get(section) if hasattr(node, "get") else None
    if not hasattr(node, "get") or key not in node:
        raise ParamsError(f"compare: params.yaml has no {name}")
    node[key] = value


def table(found: Mapping[Cell, Score]) -> pd.DataFrame:
    """A row a cell."""
    return pd.DataFrame(
        [{"data": c.data, "model": c.model, "seed": c.seed, **vars(score)} for c, score in found.items()]
    )
