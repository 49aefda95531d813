"""One stage under supervision: DVC runs it as a child, which dies with this process; its log and progress are shown."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import threading
import uuid
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect import State, Task, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency

from flows.config.parameters import FlowParams
from flows.stages import dvc_cli as versioning
from tasks.core.errors import EXIT_BROKEN, RootstockError
from tasks.core.files import put_aside, read_json
from tasks.core.paths import Paths
from tasks.core.progress import MARK
from tasks.core.supervision import SUPERVISED
from tasks.reports.page import markdown_table

GRACE = 10.0  # seconds that a stage has to end after SIGTERM
TAIL = 30  # lines of other output that are shown when a stage fails
PERCENT = re.compile(r"^(\d+)% ")


class StageFailedError(RootstockError):
    """A stage did not end well; `again` if another try may help."""

    def __init__(self, message: str, exit_code: int = EXIT_BROKEN, *, again: bool = False) -> None:
        super().__init__(message)
        self.exit_code = exit_code
        self.again = again


@dataclass(frozen=True)
class Outcome:
    """What became of a stage: computed, restored from an earlier run's results, or unchanged."""

    stage: str
    what: str
    seconds: float | None = None
    report: dict[str, Any] = field(default_factory=dict)


def worth_another_try(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed stage may do better the next time: it crashed, or DVC was busy."""
    try:
        state.result()
    except StageFailedError as error:
        return error.again
    except BaseException:
        return False
    return False


@task(task_run_name="{stage}", cache_policy=NO_CACHE, retry_condition_fn=worth_another_try, retry_delay_seconds=2)
def reproduce(stage: str, params: FlowParams, *, outdated: bool, on_line: Callable[[], object]) -> Outcome:
    """Runs the stage if it is outdated; calls `on_line` after each line it says.

    Raises StageFailedError if it fails; then its last good results are back, and what it left is in .state/failed.
    """
    log = get_run_logger()
    if not outdated:
        log.info("unchanged")
        return Outcome(stage, "unchanged")
    before, run, show = versioning.out_md5s(stage), uuid.uuid4().hex, _progress(stage)

    def said(line: str) -> None:
        log.info(line)
        show(line)
        on_line()

    with _slot(params.run.slot):
        code, tail = run_dvc(stage, run, params.run.timeout, said)
    record = _record(params.paths.report(stage), run)
    if code != 0:
        put_aside(params.paths.of(stage), params.paths.failed(stage))
        failure = _failure(stage, code, record, tail, params)
        _put_back(stage, log)
        raise failure
    if record:
        _publish(stage, record)
        return Outcome(stage, "computed", record["seconds"], record["report"])
    what = "unchanged" if versioning.out_md5s(stage) == before else "restored from an earlier run"
    log.info(what)
    return Outcome(stage, what)


def run_dvc(stage: str, run: str, timeout: float, said: Callable[[str], None]) -> tuple[int | None, list[str]]:
    """Has DVC run one stage. Marked lines go to `said`; the exit code (None if it took too long) and other lines.

    The child's standard input is a pipe held here: it ends when this process or DVC does, however that happens, and
    then the stage exits.
    """
    process = subprocess.Popen(
        versioning.reproduction(stage),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
        env={**os.environ, SUPERVISED: run},
    )
    late = threading.Event()

    def end_late() -> None:
        late.set()
        _end(process)

    def close_when_ended() -> None:
        process.wait()
        _close(process)

    timer = threading.Timer(timeout, end_late)
    threading.Thread(target=close_when_ended, daemon=True).start()
    timer.start()
    other: deque[str] = deque(maxlen=TAIL)
    try:
        for line in process.stdout or ():
            if line.startswith(MARK):
                said(line.removeprefix(MARK).rstrip())
            elif line.strip():
                other.append(line.rstrip())
        code = process.wait()
    finally:
        timer.cancel()
        _end(process)
    return (None if late.is_set() else code), list(other)


def _end(process: subprocess.Popen[str]) -> None:
    """Ends the child and all it started: first asked, then killed."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(GRACE)
    _close(process)


def _close(process: subprocess.Popen[str]) -> None:
    if process.stdin:
        with contextlib.suppress(OSError):
            process.stdin.close()


def _failure(
    stage: str, code: int | None, record: dict[str, Any] | None, tail: list[str], params: FlowParams
) -> StageFailedError:
    if code is None:
        return StageFailedError(f"{stage} took longer than {params.run.timeout:g} seconds (run.timeout) and was ended")
    told = "\n".join(tail)
    if record and "error" not in record:
        return StageFailedError(f"{stage} was computed, but DVC could not keep it; the last that was printed:\n{told}")
    if record:
        return StageFailedError(f"{stage}: {record['error']}{_page_of(stage, params.paths)}", record["exit_code"])
    return StageFailedError(f"{stage} ended without a word; the last that was printed:\n{told}", again=True)


def _page_of(stage: str, paths: Paths) -> str:
    """Where the report of a failed stage can be read, if it wrote one."""
    page = paths.failed(stage) / paths.validation_page.name
    return f"\nreport: {page}" if page.exists() else ""


def _record(file: Path, run: str) -> dict[str, Any] | None:
    """What the stage left of this very run, if anything."""
    record: dict[str, Any] | None = read_json(file) if file.exists() else None
    return record if record and record["run"] == run else None


def _put_back(stage: str, log: logging.Logger | logging.LoggerAdapter[Any]) -> None:
    """Brings a failed stage's last good results back; why it failed matters more than that they could not be had."""
    try:
        versioning.restore(stage)
    except versioning.DvcError as error:
        log.warning("the last good results of %s are not back: %s", stage, error)


@contextmanager
def _slot(name: str | None) -> Iterator[None]:
    """Holds one place of a Prefect concurrency limit while the stage computes."""
    if name is None:
        yield
        return
    with contextlib.ExitStack() as held:
        try:
            held.enter_context(concurrency(name, occupy=1, strict=True, raise_on_lease_renewal_failure=False))
        except ConcurrencySlotAcquisitionError:
            create = f"prefect global-concurrency-limit create {name} --limit 1"
            raise RootstockError(f"run.slot: there is no concurrency limit {name}; make one: {create}") from None
        yield


def _progress(stage: str) -> Callable[[str], None]:
    """What shows the percentages of lines in Prefect, from the first one on."""
    artifact: list[Any] = []

    def show(line: str) -> None:
        found = PERCENT.match(line)
        if not found:
            return
        percent = float(found[1])
        if artifact:
            update_progress_artifact(artifact[0], percent)
        else:
            artifact.append(create_progress_artifact(percent, key=f"{stage}-progress", description=stage))

    return show


def _flattened(name: str, value: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - whatever a report holds
    """A value by its name, or the values in it by theirs."""
    return list(value.items()) if isinstance(value, dict) else [(name, value)]


def _publish(stage: str, record: dict[str, Any]) -> None:
    """The stage's report as a Markdown artifact on its task run."""
    flat = {inner: value for name, of in record["report"].items() for inner, value in _flattened(name, of)}
    rows = [
        [name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else value] for name, value in flat.items()
    ]
    rows += [["seconds", f"{record['seconds']:.1f}"], ["peak memory, MiB", f"{record['peak_mib']:.0f}"]]
    create_markdown_artifact(markdown_table(["", stage], rows), key=f"{stage}-report")
