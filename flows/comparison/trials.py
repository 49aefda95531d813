"""The trials of a comparison: one model on one data set with one seed. Each trial's stages run in its own folder.

A score is stored with a digest of everything it depends on, so that an interrupted comparison resumes.
"""

from __future__ import annotations

import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from flows.comparison.preparation import RESULT, SHARED_STAGES, TRIAL_PREFIX, TRIAL_STAGES, Trial, prepare
from flows.config.parameters import FlowParams, RunSection, check
from flows.local.environment import CHECKOUT
from flows.stages.child import check_outcome, run_supervised
from tasks.core.errors import ParamsError, RootstockError
from tasks.core.files import read_json, write_json
from tasks.core.messages import DisplayMessage
from tasks.core.params import PARAMS_FILE, read_document
from tasks.core.schema import VALUE, Candidate, Metric

DONE = "done"  # marks a data set that has been ingested and validated


@dataclass(frozen=True)
class Score:
    """The result of a trial: a test score and its cost in seconds, or an error."""

    metric: str = ""
    value: float = float("nan")
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    error: str = ""
    reused: bool = False


def all_trials(params: FlowParams) -> list[Trial]:
    """Returns the trials of every model on every data set with every seed, with models in the order of params.yaml.

    Raises ParamsError if a model's teacher is not listed before it.
    """
    section = params.compare
    trials: list[Trial] = []
    for model, model_changes in section.models.items():
        earlier = {trial.model for trial in trials}
        teacher = str(model_changes.get("teacher.weights", ""))
        if teacher.startswith(TRIAL_PREFIX) and teacher.removeprefix(TRIAL_PREFIX) not in earlier:
            message = f"compare.models: {model} learns from {teacher}, which must stand before it"
            raise ParamsError(message, key="compare.models")
        for data, data_changes in section.data.items():
            changes = {**data_changes, **model_changes}
            trials += [Trial(data, model, seed, {**changes, "seed": seed}) for seed in section.seeds]
    return trials


def run_trial(trial: Trial, folder: Path, on_message: Callable[[DisplayMessage], None]) -> Score:
    """Returns the trial's score, stored or computed now. If the trial fails, the score holds the error."""
    place = folder / trial.folder
    result_file = place / RESULT
    try:
        digest = prepare(trial, folder, place)
        if result_file.exists() and (result := read_json(result_file))["digest"] == digest:
            return Score(**{**result["score"], "reused": True})
        result_file.unlink(missing_ok=True)
        score = compute(place, on_message)
    except RootstockError as error:
        result_file.unlink(missing_ok=True)  # no other trial may use it as a teacher
        return Score(error=str(error))
    write_json(result_file, {"digest": digest, "trial": trial.name, "score": vars(score)})
    return score


def compute(place: Path, on_message: Callable[[DisplayMessage], None]) -> Score:
    """Runs the trial's stages, after those of its data set if needed. Raises RootstockError if a stage fails."""
    params = check(read_document(place / PARAMS_FILE))
    paths = params.paths
    mark = paths.ingest.parent / DONE
    for stage in TRIAL_STAGES:
        shutil.rmtree(place / paths.of(stage), ignore_errors=True)
    if not mark.exists():
        run_stages(place, SHARED_STAGES, params.run, on_message)
        mark.touch()
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run_stages(place, TRIAL_STAGES, params.run, on_message)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    row = read_json(place / paths.metrics)[Candidate.TUNED]
    metric = Metric.ACCURACY if Metric.ACCURACY in row else Metric.R2
    return Score(metric.value, row[metric][VALUE], time.perf_counter() - started, cpu)


def run_stages(
    place: Path, stages: Sequence[str], run: RunSection, on_message: Callable[[DisplayMessage], None]
) -> None:
    """Runs stages in one child process in the folder `place`, each within the limits of `run`.

    Raises RootstockError if a stage fails.
    """
    command = [sys.executable, "-m", "tasks", *stages]
    code, output = run_supervised(command, run, on_message, cwd=place, PYTHONPATH=str(CHECKOUT))
    check_outcome(stages, code, output, run)
