"""The outputs of the Open Inference Protocol, by kind of target. Shapes: N images, C classes, K targets, D features."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tasks.core.schema import Column
from tasks.core.target import TargetKind
from tasks.serving.engine import Engine, Outputs
from tasks.serving.open_inference import IMAGE, TENSOR, OutputTensor, refused

VALUES, EMBEDDING = "values", "embedding"
LABEL_OUTPUTS = (
    (Column.LABEL.value, "BYTES"),
    (Column.PROBABILITY.value, "FP32"),
    (Column.CONFIDENT.value, "BOOL"),
    (Column.DISTRIBUTION.value, "FP32"),
)
OUTPUTS: Mapping[TargetKind, tuple[tuple[str, str], ...]] = {  # names and types
    TargetKind.CLASSIFICATION: LABEL_OUTPUTS,
    TargetKind.MULTILABEL: LABEL_OUTPUTS,
    TargetKind.REGRESSION: ((VALUES, "FP32"),),
}
WIDE = {Column.DISTRIBUTION.value, VALUES}  # one number for each class or target


def metadata(engine: Engine, model: str, version: str) -> dict[str, Any]:
    """Returns the metadata of a version; -1 in a shape is the number of images."""
    side, width = engine.side, len(engine.names)
    outputs = [
        {"name": name, "datatype": datatype, "shape": [-1, width] if name in WIDE else [-1]}
        for name, datatype in OUTPUTS[engine.kind]
    ]
    return {
        "name": model,
        "versions": [version],
        "platform": "rootstock",
        "inputs": [
            {"name": IMAGE, "datatype": "BYTES", "shape": [-1]},
            {"name": TENSOR, "datatype": "FP32", "shape": [-1, 3, side, side]},
        ],
        "outputs": [*outputs, {"name": EMBEDDING, "datatype": "FP32", "shape": [-1, -1]}],
        "parameters": {"names": list(engine.names)},
    }


def output_tensors(engine: Engine, outputs: Sequence[Outputs], asked: Sequence[str]) -> list[OutputTensor]:
    """Returns the outputs asked for; if none is named, all but the embedding. Raises BodyError for an unknown name."""
    types = dict(OUTPUTS[engine.kind])
    if unknown := set(asked) - types.keys() - {EMBEDDING}:
        raise refused(f"there is no output {min(unknown)}; there are {', '.join([*types, EMBEDDING])}")
    rows = [engine.row(each) for each in outputs]
    return [_tensor(name, types, outputs, rows) for name in asked or types]


def _tensor(
    name: str, types: Mapping[str, str], outputs: Sequence[Outputs], rows: Sequence[Mapping[str, Any]]
) -> OutputTensor:
    datatype = types.get(name, "FP32")
    if datatype == "BYTES":
        return OutputTensor(name, datatype, (len(rows),), [str(row[name]) for row in rows])
    values = np.array([_value(name, one, row) for one, row in zip(outputs, rows, strict=True)])
    return OutputTensor(name, datatype, values.shape, values)


def _value(name: str, outputs: Outputs, row: Mapping[str, Any]) -> Any:  # noqa: ANN401 - a number, or a list of them
    if name == EMBEDDING and outputs.feature_D is not None:
        return outputs.feature_D.numpy()
    if name == VALUES:
        return list(row.values())
    return list(row[name].values()) if name in WIDE else row[name]
