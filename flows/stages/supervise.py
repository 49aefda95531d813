"""One stage under supervision: DVC runs it as a child, which dies with this process; its log and progress are shown."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from prefect import State, Task, get_run_logger, task
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import TaskRun
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.concurrency.sync import concurrency

from flows.config.parameters import FlowParams
from flows.stages import dvc_cli as versioning
from flows.stages.child import Output, run_supervised, too_late
from tasks.core.errors import EXIT_BROKEN, RootstockError
from tasks.core.files import put_aside
from tasks.core.messages import DisplayMessage, ProgressMessage, RecordMessage
from tasks.core.paths import Paths
from tasks.reports.page import markdown_table


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
    """Runs the stage if it is outdated; calls `on_line` after each line that it shows.

    Raises StageFailedError if it fails; then its last good results are back, and what it left is in .state/failed.
    """
    log = get_run_logger()
    if not outdated:
        log.info("unchanged")
        return Outcome(stage, "unchanged")
    before, show_progress = versioning.out_md5s(stage), progress_bar(f"{stage}-progress", stage)

    def on_message(message: DisplayMessage) -> None:
        log.info(str(message))
        show_progress(message)
        on_line()

    with _slot(params.run.slot):
        code, output = run_supervised(versioning.reproduction(stage), params.run.timeout, on_message)
    if code != 0:
        put_aside(params.paths.of(stage), params.paths.failed(stage))
        failure = _failure(stage, code, output, params)
        _put_back(stage, log)
        raise failure
    if output.records:
        record = output.records[-1]
        _publish(record)
        return Outcome(stage, "computed", record.seconds, record.report)
    what = "unchanged" if versioning.out_md5s(stage) == before else "restored from an earlier run"
    log.info(what)
    return Outcome(stage, what)


def _failure(stage: str, code: int | None, output: Output, params: FlowParams) -> StageFailedError:
    if code is None:
        return StageFailedError(too_late(stage, params.run.timeout))
    if output.failure:
        message = f"{stage}: {output.failure.error}{_page_of(stage, params.paths)}"
        return StageFailedError(message, output.failure.exit_code)
    what = "was computed, but DVC could not keep it" if output.records else "ended without a word"
    message = "\n".join([f"{stage} {what}; the last that was printed:", *output.tail])
    return StageFailedError(message, again=not output.records)


def _page_of(stage: str, paths: Paths) -> str:
    """Where the report of a failed stage can be read, if it wrote one."""
    page = paths.failed(stage) / paths.validation_page.name
    return f"\nreport: {page}" if page.exists() else ""


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


def progress_bar(key: str, description: str) -> Callable[[DisplayMessage], None]:
    """Returns what shows progress messages as a bar in Prefect, from the first one on; it ignores others."""
    artifact: list[Any] = []  # its id; Prefect says that it may also be a coroutine

    def show(message: DisplayMessage) -> None:
        if not isinstance(message, ProgressMessage):
            return
        if artifact:
            update_progress_artifact(artifact[0], message.percent)
        else:
            artifact.append(create_progress_artifact(message.percent, key, description))

    return show


def _flattened(name: str, value: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - whatever a report holds
    """A value by its name, or the values in it by theirs."""
    return list(value.items()) if isinstance(value, dict) else [(name, value)]


def _publish(record: RecordMessage) -> None:
    """The stage's report as a Markdown artifact on its task run."""
    flat = {inner: value for name, of in record.report.items() for inner, value in _flattened(name, of)}
    rows = [
        [name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else value] for name, value in flat.items()
    ]
    rows += [["seconds", f"{record.seconds:.1f}"], ["peak memory, MiB", f"{record.peak_mib:.0f}"]]
    create_markdown_artifact(markdown_table(["", record.stage], rows), key=f"{record.stage}-report")
