"""Estimates seconds, memory and disk of the stages for a number of images, from what they took on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from flows.estimates.measured import Measured
from flows.estimates.work import rows, work
from tasks.core.disk import GIB
from tasks.core.sizing import SPLIT_SHARE, SizingParams
from tasks.data.counts import Counts

MIB = 2**20
FLOAT = 4  # bytes
KEY = 16  # bytes of a row's key in the feature store
TABLE_ROW = 300  # bytes an image of a manifest that is read whole
ROW = {"validate": 600, "features": 100, "head": 100}  # bytes an image of other stages (make bench ARGS=memory)
NETWORKS = 6  # files of the network's size: the chosen weights, two results, their checkpoints, and the registered one
WRITTEN = {  # what an estimate of disk lists, besides images, by the stage that writes most of it
    "features": ("features", "feature store"),
    "finetune": ("networks",),
    "evaluate": ("predictions",),
}


@dataclass(frozen=True)
class Setting:
    """What an estimate is for, besides images: bytes an image, outputs, input side, bytes of the weights file."""

    bytes_per_image: float
    outputs: int
    side: int  # pixels
    weights: int  # bytes


@dataclass(frozen=True)
class Estimate:
    """Seconds and bytes of memory by stage, and bytes of disk by what is written.

    Stages that have not been measured on this machine are missing, and so is what depends on them.
    """

    counts: Counts
    seconds: Mapping[str, float]
    memory: Mapping[str, int]
    disk: Mapping[str, int]


def estimate(counts: Counts, params: SizingParams, setting: Setting, measured: Mapping[str, Measured]) -> Estimate:
    """Returns the estimate for `counts` images of which nothing has been computed yet."""
    return Estimate(
        counts,
        {stage: seconds for stage, each in measured.items() if (seconds := _seconds(stage, counts, params, each))},
        {stage: _memory(stage, counts, params, setting, each) for stage, each in measured.items()},
        _disk(counts, params, setting, measured),
    )


def held(stage: str, counts: Counts, params: SizingParams, setting: Setting) -> int:
    """Returns the bytes that a stage certainly holds in memory at the same time, besides its code."""
    table = ROW.get(stage, TABLE_ROW) * counts.images
    if stage == "evaluate":
        return table + FLOAT * setting.outputs * params.candidates * counts.test
    if stage == "finetune" and params.finetune.epochs:
        return table + sum(_decoded(images, params, setting) for images in (counts.train, counts.validation))
    return table


def _decoded(images: int, params: SizingParams, setting: Setting) -> int:
    """Returns the bytes of decoded images that are kept: all of a split, or none if they exceed its share."""
    needed = 3 * setting.side**2 * images
    return needed if needed <= SPLIT_SHARE * params.memory * GIB else 0


def _seconds(stage: str, counts: Counts, params: SizingParams, each: Measured) -> float | None:
    """Returns the seconds in proportion to the work; None if the measured run took most of it from earlier ones."""
    whole = work(stage, each.counts, each.params)
    done = whole if each.done is None else each.done
    return each.seconds * work(stage, counts, params) / done if done and 2 * done >= whole else None


def _memory(stage: str, counts: Counts, params: SizingParams, setting: Setting, each: Measured) -> int:
    grown = held(stage, counts, params, setting) - held(stage, each.counts, each.params, setting)
    return int(each.peak_mib * MIB) + max(grown, 0)


def _disk(counts: Counts, params: SizingParams, setting: Setting, measured: Mapping[str, Measured]) -> dict[str, int]:
    disk = {"images": int(setting.bytes_per_image * counts.images), "networks": NETWORKS * setting.weights}
    if "features" in measured:
        row = FLOAT * int(measured["features"].report["width"])
        disk |= {"features": row * rows(counts, params), "feature store": (row + KEY) * rows(counts, params)}
    return disk | {"predictions": FLOAT * setting.outputs * counts.test}
