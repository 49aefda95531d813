"""One trial that is ready to be computed, here or by a worker of a cluster, which imports this and little more."""

from __future__ import annotations

import resource
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from flows.config.parameters import RunSection
from flows.config.parameters import check as check_params
from flows.local.environment import CHECKOUT
from flows.local.interruption import check_interrupted
from flows.stages.child import check_outcome, run_supervised
from tasks.core.errors import RootstockError
from tasks.core.files import read_json, remove, write_json
from tasks.core.messages import DisplayMessage
from tasks.core.params import PARAMS_FILE, read_document
from tasks.core.schema import VALUE, Candidate, Metric
from tasks.core.spread import SCHEDULER

SHARED_STAGES = ("ingest", "validate")  # they depend only on the data set
TRIAL_STAGES = ("choose", "augment", "features", "head", "finetune", "evaluate")
RESULT, ORDER = "result.json", "order"
NOTICED = 120.0  # seconds until a worker has noticed that its order has gone, also on a network file system
ONE = threading.Lock()  # a trial uses the whole machine


@dataclass(frozen=True)
class Score:
    """The result of a trial: a test score and its cost in seconds, or an error."""

    metric: str = ""
    value: float = float("nan")
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    error: str = ""
    reused: bool = False


@dataclass(frozen=True)
class Cell:
    """A trial's name, its folder, the digest of all that its score depends on, and its score if it is there already.

    The folder is absolute, as it is the same for all workers of a cluster. A worker computes only as long as the folder
    has the cell's `order`, a unique text: it may not hear that its command has ended, and another has begun.
    """

    name: str
    place: Path
    digest: str = ""
    order: str = ""
    score: Score | None = None

    def check_ordered(self) -> None:
        """Raises RootstockError if the command that asked for this score has ended, or another one has asked since."""
        check_interrupted()
        with suppress(FileNotFoundError):
            if (self.place / ORDER).read_text(encoding="utf-8") == self.order:
                return
        raise RootstockError("the comparison that this trial was computed for has ended", key="not-ordered")


def ignore(_message: DisplayMessage) -> None:
    """Does nothing with a message."""


def score_of(cell: Cell, on_message: Callable[[DisplayMessage], None] = ignore) -> Score:
    """Computes and stores the trial's score. If that fails, the score holds the error.

    A process computes one trial at a time, and a trial is computed by one process at a time.
    """
    try:
        with ONE, FileLock(cell.place / "cell.lock", timeout=NOTICED):
            cell.check_ordered()
            score = _computed(cell, on_message)
            cell.check_ordered()
            write_json(cell.place / RESULT, {"digest": cell.digest, "trial": cell.name, "score": vars(score)})
    except Timeout:
        return Score(error=f"{cell.place} is still in use by another comparison; run the command again")
    except RootstockError as error:
        return Score(error=str(error))
    return score


def _computed(cell: Cell, on_message: Callable[[DisplayMessage], None]) -> Score:
    """Runs the trial's stages. Raises RootstockError if one fails."""
    place, params = cell.place, check_params(read_document(cell.place / PARAMS_FILE))
    for stage in TRIAL_STAGES:
        shutil.rmtree(place / params.paths.of(stage), ignore_errors=True)
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    run_stages(place, TRIAL_STAGES, params.run, on_message, cell.check_ordered)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    remove(params.paths.state)
    row = read_json(place / params.paths.metrics)[Candidate.TUNED]
    metric = Metric.ACCURACY if Metric.ACCURACY in row else Metric.R2
    return Score(metric.value, row[metric][VALUE], time.perf_counter() - started, cpu)


def run_stages(
    place: Path,
    stages: Sequence[str],
    run: RunSection,
    on_message: Callable[[DisplayMessage], None],
    check: Callable[[], None] = check_interrupted,
) -> None:
    """Runs stages in one child process in the folder `place`, each within the limits of `run`, and never on a cluster.

    A worker whose stages wait for workers would wait for itself. If `check`, which is called twice a second, raises
    an error, they are ended. Raises RootstockError if a stage fails.
    """
    command = [sys.executable, "-m", "tasks", *stages]
    environment = {"PYTHONPATH": str(CHECKOUT), SCHEDULER: ""}
    code, output = run_supervised(command, run, on_message, cwd=place, check=check, **environment)
    check_outcome(stages, code, output, run)
