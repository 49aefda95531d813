"""The images, parameters and measurements of this checkout, read without walking through the images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from flows.estimates.estimate import Estimate, Setting, estimate
from flows.estimates.measured import Measured, read_measured
from flows.stages.dvc_cli import locked_stages, tracked
from tasks.core.errors import RootstockError
from tasks.core.files import read_json
from tasks.core.paths import Paths
from tasks.core.sizing import SizingParams
from tasks.core.target import TargetSpec
from tasks.data.counts import Counts, count_images


@dataclass(frozen=True)
class Present:
    """What estimates of this checkout start from; `counts` are of the present copy of the images."""

    counts: Counts
    params: SizingParams
    setting: Setting
    measured: dict[str, Measured]

    def estimate(self, times: int = 1) -> Estimate:
        """Returns the estimate for `times` as many images."""
        counts = self.counts.scaled_to(times * self.counts.images)
        return estimate(counts, self.params, self.setting, self.measured)


ODD = (OSError, ValueError, LookupError, TypeError, AttributeError, StopIteration, RootstockError)


def present(paths: Paths) -> Present | None:
    """Returns what there is; None before the first images have been validated and a backbone chosen.

    It is None, too, if one of the files is missing or damaged: a run restores or computes them. If other images have
    been imported since, there are assumed to be more or fewer in proportion to the files.
    """
    try:
        return _present(paths)
    except ODD:
        return None


def _present(paths: Paths) -> Present | None:
    ingested = locked_stages().get("ingest")
    if not ingested or not all(file.exists() for file in (paths.manifest, paths.task, paths.choice)):
        return None
    before, now = _files_of(ingested["deps"], paths.raw), _files_of([tracked(paths.raw)], paths.raw)
    counts = count_images(paths.manifest)
    counts = counts.scaled_to(counts.images * now.files // before.files)
    setting = Setting(
        bytes_per_image=now.size / max(counts.images, 1),
        outputs=TargetSpec.load(paths.task).num_outputs,
        side=int(read_json(paths.choice)["resize"]),
        weights=paths.pretrained.stat().st_size,
    )
    return Present(counts, SizingParams.load(), setting, read_measured(paths))


class _Files(NamedTuple):
    files: int
    size: int  # bytes


def _files_of(entries: Sequence[Mapping[str, Any]], raw: Path) -> _Files:
    """Returns the files of the copy of the images, as DVC has recorded them."""
    entry = next(each for each in entries if Path(each["path"]).name == raw.name)
    return _Files(max(1, int(entry["nfiles"])), int(entry["size"]))
