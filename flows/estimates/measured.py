"""What the stages took on this machine: the last computation of each that did most of its work itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from tasks.core.files import read_json
from tasks.core.paths import Paths
from tasks.core.schema import STAGES
from tasks.core.sizing import SizingParams
from tasks.core.supervision import measured_file
from tasks.data.counts import Counts


class Measured(BaseModel):
    """A stage's seconds, peak memory in MiB and report, with the images and parameters that they were measured with."""

    seconds: float
    peak_mib: float
    report: dict[str, Any]
    counts: Counts
    params: SizingParams
    done: int | None  # images or rows that were computed, of a stage that takes others from an earlier run


def read_measured(paths: Paths) -> dict[str, Measured]:
    """Returns the measurements of the stages that have been computed in this checkout, by stage."""
    return {stage: each for stage in STAGES if (each := _read(measured_file(paths, stage)))}


def _read(file: Path) -> Measured | None:
    """Returns a measurement; None if there is none, or if it is of a version with other parameters."""
    try:
        return Measured.model_validate(read_json(file))
    except (OSError, ValueError, ValidationError):
        return None
