"""Prefect artifacts of a stage: its progress and its report."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

import httpx
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact

from tasks.core.messages import DisplayMessage, ProgressMessage, RecordMessage
from tasks.reports.page import markdown_table

PAUSE = 30.0  # seconds without progress in Prefect after its server did not answer


def if_prefect_answers(publish: Callable[[], object]) -> Any:  # noqa: ANN401 - Prefect's type hints include coroutines
    """Returns the published artifact's ID, or None if Prefect does not answer: its pages then lack it, nothing else."""
    try:
        return publish()
    except httpx.HTTPError as error:
        logging.getLogger(__name__).warning("Prefect does not answer, its pages lack an artifact: %s", error)
        return None


class ProgressBar:
    """A progress bar in Prefect, which the first progress message creates."""

    def __init__(self, key: str, description: str) -> None:
        self._key, self._description = key, description
        self._artifact: Any = None  # its ID; Prefect's type hint includes a coroutine
        self._percent = 0
        self._resume = 0.0  # on the monotonic clock

    def show(self, message: DisplayMessage) -> None:
        """Shows a progress message; ignores other messages."""
        if isinstance(message, ProgressMessage):
            self._set(min(message.percent, 100))

    def complete(self) -> None:
        """Sets the bar to 100%, if there is one: a fit that stops early ends well."""
        if self._artifact and self._percent < 100:
            self._set(100)

    def _set(self, percent: int) -> None:
        self._percent = percent
        if time.monotonic() >= self._resume and if_prefect_answers(self._publish) is None:
            self._resume = time.monotonic() + PAUSE

    def _publish(self) -> Any:  # noqa: ANN401
        if self._artifact:
            update_progress_artifact(self._artifact, self._percent)
        else:
            self._artifact = create_progress_artifact(self._percent, self._key, self._description)
        return self._artifact


def _flattened(name: str, value: Any) -> list[tuple[str, Any]]:  # noqa: ANN401 - any value of a report
    """Returns a nested dict's items, or the single pair of name and value."""
    return list(value.items()) if isinstance(value, dict) else [(name, value)]


def publish(record: RecordMessage) -> None:
    """Publishes the stage's report as a Markdown artifact of its task run."""
    flat = {inner: value for name, of in record.report.items() for inner, value in _flattened(name, of)}
    rows = [
        [name.replace("_", " "), f"{value:.4g}" if isinstance(value, float) else value] for name, value in flat.items()
    ]
    rows += [["seconds", f"{record.seconds:.1f}"], ["peak memory, MiB", f"{record.peak_mib:.0f}"]]
    table, key = markdown_table(["", record.stage], rows), f"{record.stage}-report"
    if_prefect_answers(lambda: create_markdown_artifact(table, key=key))
