"""The golden picture of a version: a test picture with its answer, recorded at registration.

Whoever loads the version, in another process or on another machine, shows with it that the version still answers so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tasks.core.files import read_json, write_json
from tasks.core.schema import Column

FOLDER, PICTURE, ANSWER = "golden", "picture", "answer.json"  # among a version's artifacts, and the files in it
TOLERANCE = 1e-3  # largest difference from evaluation: in a probability, or in standard deviations of a target
MAX_BYTES = 2**20  # of a golden picture: it is stored with every version


@dataclass(frozen=True)
class Golden:
    """An encoded picture with its label, or None in regression, and its outputs by class or target.

    `scale` is the standard deviation of each target; empty for probabilities.
    """

    picture: bytes
    label: str | None
    outputs: Mapping[str, float]
    scale: Mapping[str, float]

    @classmethod
    def of(cls, picture: bytes, row: Mapping[str, Any], scale: Mapping[str, float] | None = None) -> Self:
        """Records what a scorer's `row` answers for a picture."""
        return cls(picture, row.get(Column.LABEL), outputs_of(row), scale or {})

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Reads the golden picture in a version's artifacts, or returns None if it was registered without one."""
        if not (folder / FOLDER / ANSWER).exists():
            return None
        fields = read_json(folder / FOLDER / ANSWER)
        return cls((folder / FOLDER / PICTURE).read_bytes(), fields["label"], fields["outputs"], fields["scale"])

    def write(self, folder: Path) -> Path:
        """Writes the picture and its answer below `folder`. Returns their folder."""
        (folder / FOLDER).mkdir(parents=True, exist_ok=True)
        (folder / FOLDER / PICTURE).write_bytes(self.picture)
        fields = {"label": self.label, "outputs": dict(self.outputs), "scale": dict(self.scale)}
        write_json(folder / FOLDER / ANSWER, fields)
        return folder / FOLDER

    def difference(self, row: Mapping[str, Any]) -> float:
        """Returns the largest difference of an answer: in a probability, or in standard deviations of a target.

        It is infinite for another label, other outputs, and outputs that are not finite.
        """
        outputs = outputs_of(row)
        if row.get(Column.LABEL) != self.label or outputs.keys() != self.outputs.keys():
            return math.inf
        differences = [abs(outputs[name] - self.outputs[name]) / self.scale.get(name, 1.0) for name in outputs]
        return max(math.inf if math.isnan(difference) else difference for difference in differences)


def outputs_of(row: Mapping[str, Any]) -> dict[str, float]:
    """Returns the probabilities by class, or the values by target, of a scorer's `row`."""
    return dict(row.get(Column.DISTRIBUTION, row))
