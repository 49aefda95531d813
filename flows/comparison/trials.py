"""The trials of a comparison: one model on one data set with one seed. Each trial's stages run in its own folder.

A score is stored with a digest of everything it depends on, so that an interrupted comparison resumes.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from uuid import uuid4

from flows.comparison.cell import ORDER, RESULT, Cell, Score, score_of
from flows.comparison.preparation import TRIAL_PREFIX, Trial, prepare, prepare_data
from flows.config.parameters import FlowParams
from tasks.core.errors import ParamsError, RootstockError
from tasks.core.files import read_json, write_text
from tasks.core.messages import DisplayMessage
from tasks.core.spread import spread


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


def run_trials(
    trials: Iterable[Trial], folder: Path, on_message: Callable[[DisplayMessage], None]
) -> Generator[Score, None, None]:
    """Yields the score of each trial, in order, stored or computed: by a cluster's workers, one trial each, or here.

    A failed trial's score holds the error. Raises RootstockError if a cluster cannot compute.
    """
    for wave in waves(trials):
        cells = [_cell(trial, folder.absolute(), on_message) for trial in wave]
        try:
            yield from _scores(cells, on_message)
        finally:
            for cell in cells:
                (cell.place / ORDER).unlink(missing_ok=True)


def _scores(cells: Sequence[Cell], on_message: Callable[[DisplayMessage], None]) -> Iterator[Score]:
    missing = [cell for cell in cells if cell.score is None]
    computed = spread(score_of, missing, lambda score, cells: map(partial(score, on_message=on_message), cells))
    for cell in cells:
        yield next(computed) if cell.score is None else cell.score


def waves(trials: Iterable[Trial]) -> list[list[Trial]]:
    """Splits trials, in order, so that none learns from another of its wave, since they may run at the same time."""
    waves: list[list[Trial]] = [[]]
    for trial in trials:
        if trial.teacher in {other.model for other in waves[-1]}:
            waves.append([])
        waves[-1].append(trial)
    return waves


def _cell(trial: Trial, folder: Path, on_message: Callable[[DisplayMessage], None]) -> Cell:
    """Prepares a trial, with the stages of its data set, and reads its stored score."""
    place = folder / trial.folder
    result_file, order = place / RESULT, uuid4().hex
    try:
        write_text(place / ORDER, order)  # first: what was ordered before must not see other parameters unnoticed
        digest = prepare(trial, folder, place)
        if result_file.exists() and (result := read_json(result_file))["digest"] == digest:
            return Cell(trial.name, place, digest, score=Score(**{**result["score"], "reused": True}))
        result_file.unlink(missing_ok=True)
        prepare_data(place, on_message)
    except RootstockError as error:
        result_file.unlink(missing_ok=True)  # no other trial may use it as a teacher
        return Cell(trial.name, place, score=Score(error=str(error)))
    return Cell(trial.name, place, digest, order)
