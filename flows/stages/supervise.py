"""Supervised stages: DVC runs a stage as a child of this process, and Prefect shows its log and progress."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prefect import State, Task, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency
from prefect.runtime import task_run

from flows.config.parameters import FlowParams
from flows.local.logs import Detail, Finished, Started, as_event
from flows.stages import dvc_cli, limits, memory
from flows.stages.artifacts import ProgressBar, publish
from flows.stages.child import Output, run_supervised
from tasks.core.errors import EXIT_BROKEN, MORE_MEMORY, RootstockError
from tasks.core.files import put_aside
from tasks.core.messages import DisplayMessage, ProgressMessage
from tasks.core.paths import Paths

Log = logging.Logger | logging.LoggerAdapter[Any]


class StageFailedError(RootstockError):
    """A stage failed; `again` is true if a retry may help."""

    def __init__(self, message: str, exit_code: int = EXIT_BROKEN, *, key: str, again: bool = False) -> None:
        super().__init__(message, key=key)
        self.exit_code = exit_code
        self.again = again


@dataclass(frozen=True)
class Outcome:
    """The outcome of a stage: computed, restored from an earlier run's results, or unchanged."""

    stage: str
    what: str
    seconds: float | None = None
    report: dict[str, Any] = field(default_factory=dict)


def is_retryable(_task: Task[..., Any], _run: TaskRun, state: State[Any]) -> bool:
    """Returns whether a retry of a failed stage may help: it crashed, or DVC was busy."""
    try:
        state.result()
    except StageFailedError as error:
        return error.again
    except BaseException:
        return False
    return False


@task(task_run_name="{stage}", cache_policy=NO_CACHE, retry_condition_fn=is_retryable, retry_delay_seconds=2)
def reproduce(stage: str, params: FlowParams, *, outdated: bool, on_line: Callable[[], object]) -> Outcome:
    """Runs the stage if it is outdated, and calls `on_line` after each line that it logs.

    Raises StageFailedError if it fails, after restoring its last good results and moving its partial results to
    .state/failed.
    """
    log = get_run_logger()
    if not outdated:
        log.info("unchanged")
        return Outcome(stage, "unchanged")
    log.info("running", extra=as_event(Started()))
    before, bar = dvc_cli.out_md5s(stage), ProgressBar(f"{stage}-progress", stage)
    on_message = partial(_show, log, bar, on_line)
    killed = memory.killed_processes()
    with _slot(params.run.slot):
        code, output = run_supervised(dvc_cli.reproduction(stage), params.run, on_message)
    if code or output.exceeded:
        put_aside(params.paths.of(stage), params.paths.failed(stage))
        memory_was_full = memory.killed_processes() > killed and memory.was_killed(output.tail)
        failure = _failure(stage, output, params, memory_was_full=memory_was_full)
        _warn_of_retry(failure, params.run.retries, log)
        _restore(stage, log)
        raise failure
    bar.complete()
    if output.records:
        record = output.records[-1]
        publish(record)
        log.info("computed in %.1f s", record.seconds, extra=as_event(Finished(record.seconds)))
        return Outcome(stage, "computed", record.seconds, record.report)
    what = "unchanged" if dvc_cli.out_md5s(stage) == before else "restored from an earlier run"
    log.info(what)
    return Outcome(stage, what)


def _show(log: Log, bar: ProgressBar, on_line: Callable[[], object], message: DisplayMessage) -> None:
    log_message(log, message)
    bar.show(message)
    on_line()


def log_message(log: Log, message: DisplayMessage) -> None:
    """Logs a stage's progress or text: warnings as warnings, other texts as details."""
    if isinstance(message, ProgressMessage):
        log.info(str(message), extra=as_event(message))
    elif message.is_warning:
        log.warning(str(message))
    else:
        log.info(str(message), extra=as_event(Detail()))


def _warn_of_retry(failure: StageFailedError, retries: int, log: Log) -> None:
    if failure.again and task_run.run_count <= retries:
        log.warning("%s; it is started again", str(failure).partition("\n")[0].removesuffix("; its last output:"))


def _failure(stage: str, output: Output, params: FlowParams, *, memory_was_full: bool = False) -> StageFailedError:
    if output.exceeded:
        return StageFailedError(limits.message(stage, output.exceeded, params.run), key=output.exceeded)
    if output.failure:
        message = f"{stage}: {output.failure.error}{_page_of(stage, params.paths)}"
        return StageFailedError(message, output.failure.exit_code, key=output.failure.key or "stage-failed")
    if output.records:
        message = _with_tail(f"{stage} was computed, but DVC could not store its results", output)
        return StageFailedError(message, key="not-stored")
    if memory_was_full:
        message = f"{stage} was ended by the system because the memory was full; {MORE_MEMORY}"
        return StageFailedError(message, key="memory-full")
    return StageFailedError(_with_tail(f"{stage} exited without an error", output), key="stage-crashed", again=True)


def _with_tail(message: str, output: Output) -> str:
    return "\n".join([f"{message}; its last output:", *output.tail])


def _page_of(stage: str, paths: Paths) -> str:
    """Returns a line with the path of a failed stage's report, if it wrote one."""
    page = paths.failed(stage) / paths.validation_page.name
    return f"\nreport: {page}" if page.exists() else ""


def _restore(stage: str, log: Log) -> None:
    """Restores a failed stage's last good results. Only warns if that fails: the stage's own error matters more."""
    try:
        dvc_cli.restore(stage)
    except dvc_cli.DvcError as error:
        log.warning("could not restore the last good results of %s: %s", stage, error)


@contextmanager
def _slot(name: str | None) -> Iterator[None]:
    """Holds a slot of the Prefect concurrency limit `name` inside the block. If `name` is None, holds nothing."""
    if name is None:
        yield
        return
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(concurrency(name, occupy=1, strict=True, raise_on_lease_renewal_failure=False))
        except ConcurrencySlotAcquisitionError:
            create = f"prefect global-concurrency-limit create {name} --limit 1"
            message = f"run.slot: there is no concurrency limit {name}; create it: {create}"
            raise RootstockError(message, key="run.slot") from None
        yield
