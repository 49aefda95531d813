"""Two runs that register the same content at the same time: the version that was created first counts.

MLflow can neither search and create in one step nor lock a model, but it numbers versions one after the other: whoever
created the later one sees the earlier one.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tasks.core.progress import say

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

PATIENCE = 120.0  # seconds between two versions' creation for which the later waits for the earlier one's proof
PAUSE = 1.0  # seconds between two searches


def earlier_twin(
    version: ModelVersion, matches: Callable[[], Iterable[ModelVersion]], is_proved: Callable[[ModelVersion], bool]
) -> ModelVersion | None:
    """Returns a proved version of the same content with a lower number, and waits for one that is being proved.

    One that is not proved in time was left by a run that was killed, so it does not count. Times are the registry's.
    """
    began, is_told = time.monotonic(), False
    while True:
        others = (twin for twin in matches() if twin.run_id != version.run_id)
        earlier = [twin for twin in others if int(twin.version) < int(version.version)]
        if proved := next(filter(is_proved, earlier), None):
            return proved
        waited = time.monotonic() - began
        young = [twin for twin in earlier if _age(twin, version) + waited < PATIENCE]
        if not young:
            return None
        if not is_told:
            say(f"version {young[0].version} has the same content and is being proved by another run; waiting for it")
            is_told = True
        time.sleep(PAUSE)


def _age(twin: ModelVersion, version: ModelVersion) -> float:
    """Returns how many seconds before the version its twin was created."""
    return float(version.creation_timestamp - twin.creation_timestamp) / 1000
