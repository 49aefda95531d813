"""The tables of batch prediction: their columns, and their parts joined.

Shapes: N images, C classes or targets.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from heapq import nlargest
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from torch import Tensor, nn

from tasks.core.files import replacing
from tasks.core.schema import LIKELIEST, MAX_CLASSES_SHOWN, Column
from tasks.core.target import TargetKind
from tasks.scorer.preprocessing import Preprocessing


class StreamingScorer(Protocol):
    """The scorer interface that batch prediction uses."""

    network: nn.Module
    preprocessing: Preprocessing
    classes: tuple[str, ...]
    targets: tuple[str, ...]
    threshold: float

    def stream(self, pictures: Iterable[bytes]) -> Iterator[tuple[Tensor | None, str]]:
        """Yields for each image, in order, logits (C,) and an empty text, or None and the reason."""

    def forward(self, x_N3SS: Tensor) -> Tensor:
        """Returns uncalibrated logits, (N, C), for preprocessed images (N, 3, S, S)."""

    def calibrated(self, logits_NC: Tensor) -> Tensor:
        """Returns calibrated probabilities, (N, C)."""

    def row(self, logits_C: Tensor) -> dict[str, Any]:
        """Returns the prediction for one image, from outputs (C,), by column."""


def part_file(folder: Path, start: int) -> Path:
    """Returns the path of the part that begins with file number `start`."""
    return folder / f"part-{start:09d}.parquet"


def add_left_out(scorer: StreamingScorer, kind: TargetKind, reasons: Mapping[str, str], folder: Path) -> None:
    """Writes the last part: files that were left out on purpose, with the reasons."""
    rows = [prediction_row(scorer, file, None, reason) for file, reason in reasons.items()]
    with replacing(folder / "part-left-out.parquet") as temporary:
        pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS[kind](scorer)), temporary)


def prediction_row(scorer: StreamingScorer, file: str, logits_C: Tensor | None, reason: str) -> dict[str, Any]:
    """Returns the row for a file: the answer for its outputs (C,), or the reason why it has none."""
    if logits_C is None:
        return {Column.PATH.value: file, Column.REASON.value: reason}
    answer = scorer.row(logits_C)
    if Column.DISTRIBUTION in answer:
        answer |= _columns(answer.pop(Column.DISTRIBUTION))
    return {Column.PATH.value: file, **answer}


def _columns(distribution: Mapping[str, float]) -> dict[str, object]:
    """Returns the columns for a distribution: its probabilities, or those of the likeliest of many classes."""
    if len(distribution) <= MAX_CLASSES_SHOWN:
        return {Column.DISTRIBUTION.value: list(distribution.values())}
    columns: dict[str, object] = {}
    ranked = nlargest(len(LIKELIEST), distribution.items(), key=itemgetter(1))
    for (name, probability), (likely, value) in zip(LIKELIEST, ranked, strict=True):
        columns |= {name: likely, probability: value}
    return columns


def label_schema(scorer: StreamingScorer) -> pa.Schema:
    """Returns the schema of classifier predictions; the distribution's metadata is a JSON list of the classes.

    With more than MAX_CLASSES_SHOWN classes, the likeliest are in its place.
    """
    answer = [
        pa.field(Column.PATH.value, pa.string()),
        pa.field(Column.LABEL.value, pa.string()),
        pa.field(Column.PROBABILITY.value, pa.float64()),
        pa.field(Column.CONFIDENT.value, pa.bool_()),
        pa.field(Column.REASON.value, pa.string()),
    ]
    if len(scorer.classes) > MAX_CLASSES_SHOWN:
        pairs = [(pa.field(name, pa.string()), pa.field(probability, pa.float32())) for name, probability in LIKELIEST]
        return pa.schema([*answer, *chain.from_iterable(pairs)])
    classes = {b"classes": json.dumps(scorer.classes, ensure_ascii=False).encode()}
    return pa.schema([*answer, pa.field(Column.DISTRIBUTION.value, pa.list_(pa.float32()), metadata=classes)])


def value_schema(scorer: StreamingScorer) -> pa.Schema:
    """Returns the schema of regression predictions."""
    values = [pa.field(name, pa.float64()) for name in scorer.targets]
    return pa.schema([pa.field(Column.PATH.value, pa.string()), *values, pa.field(Column.REASON.value, pa.string())])


SCHEMAS: Mapping[TargetKind, Callable[[StreamingScorer], pa.Schema]] = {
    TargetKind.CLASSIFICATION: label_schema,
    TargetKind.MULTILABEL: label_schema,
    TargetKind.REGRESSION: value_schema,
}


def merge(folder: Path, parquet: Path, csv: Path) -> tuple[int, int]:
    """Joins the parts, one at a time, into a Parquet and a CSV file. Returns the counts of rows scored and broken."""
    parts = sorted(folder.glob("part-*.parquet"))
    schema = pq.read_schema(parts[0])
    flat_names = [name for name in schema.names if name != Column.DISTRIBUTION]
    answered = broken = 0
    with (
        replacing(parquet) as temporary_parquet,
        replacing(csv) as temporary_csv,
        pq.ParquetWriter(temporary_parquet, schema) as wide,
        pa_csv.CSVWriter(temporary_csv, pa.schema([schema.field(name) for name in flat_names])) as flat,
    ):
        for part in parts:
            table = pq.read_table(part, schema=schema)
            wide.write_table(table)
            flat.write_table(table.select(flat_names))
            broken += table.num_rows - table[Column.REASON.value].null_count
            answered += table[Column.REASON.value].null_count
    return answered, broken
