"""Batch prediction over any number of files: streamed, resumable, and broken files listed with their reasons."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq
from torch import Tensor

from tasks.core.files import replacing
from tasks.core.schema import Column
from tasks.core.target import TargetKind

PART = 512  # files that are kept at once


class Streaming(Protocol):
    """What batch prediction asks of a scorer."""

    classes: tuple[str, ...]
    targets: tuple[str, ...]
    threshold: float

    def stream(self, pictures: Iterator[bytes]) -> Iterator[tuple[Tensor | None, str]]:
        """In order, logits or a reason."""

    def calibrated(self, logits_NC: Tensor) -> Tensor:
        """Probabilities."""

    def row(self, logits_C: Tensor) -> dict[str, Any]:
        """The answer for one image, by column."""


def score_parts(scorer: Streaming, kind: TargetKind, root: Path, files: Sequence[str], folder: Path) -> Iterator[int]:
    """Writes the answers for `files` below `root` in parts, which an interrupted run need not make again.

    Yields how many files are done after each part.
    """
    for start in range(0, len(files), PART):
        part, names = part_file(folder, start), files[start : start + PART]
        if not part.exists():
            table = pa.Table.from_pylist(_answers(scorer, root, names), schema=SCHEMAS[kind](scorer))
            with replacing(part) as beside:
                pq.write_table(table, beside)
        yield start + len(names)


def part_file(folder: Path, start: int) -> Path:
    """Where the part that begins with this file is kept."""
    return folder / f"part-{start:09d}.parquet"


def _answers(scorer: Streaming, root: Path, files: Sequence[str]) -> list[dict[str, Any]]:
    rows = []
    for file, (logits_C, reason) in zip(files, scorer.stream(_bytes(root / file) for file in files), strict=True):
        rows.append(_row(scorer, file, logits_C, reason if is_there(root / file) else "the file is not there"))
    return rows


def is_there(file: Path) -> bool:
    """Whether it is a file: no, where no file can have such a name."""
    try:
        return file.is_file()
    except (OSError, ValueError):
        return False


def _bytes(file: Path) -> bytes:
    """A file's bytes; none for one that cannot be read, so that it is listed as broken."""
    try:
        return file.read_bytes()
    except (OSError, ValueError):  # also names that no file can have
        return b""


def _row(scorer: Streaming, file: str, logits_C: Tensor | None, reason: str) -> dict[str, Any]:
    if logits_C is None:
        return {Column.PATH.value: file, Column.REASON.value: reason}
    answer = scorer.row(logits_C)
    if Column.DISTRIBUTION in answer:
        answer[Column.DISTRIBUTION.value] = list(answer[Column.DISTRIBUTION].values())
    return {Column.PATH.value: file, **answer}


def label_schema(scorer: Streaming) -> pa.Schema:
    """Returns the columns of answers in classes; the distribution's metadata has the classes, in order."""
    classes = {b"classes": "\n".join(scorer.classes).encode()}
    return pa.schema(
        [
            pa.field(Column.PATH.value, pa.string()),
            pa.field(Column.LABEL.value, pa.string()),
            pa.field(Column.PROBABILITY.value, pa.float64()),
            pa.field(Column.CONFIDENT.value, pa.bool_()),
            pa.field(Column.REASON.value, pa.string()),
            pa.field(Column.DISTRIBUTION.value, pa.list_(pa.float32()), metadata=classes),
        ]
    )


def value_schema(scorer: Streaming) -> pa.Schema:
    """Returns the columns of answers in numbers."""
    values = [pa.field(name, pa.float64()) for name in scorer.targets]
    return pa.schema([pa.field(Column.PATH.value, pa.string()), *values, pa.field(Column.REASON.value, pa.string())])


SCHEMAS: Mapping[TargetKind, Callable[[Streaming], pa.Schema]] = {
    TargetKind.CLASSIFICATION: label_schema,
    TargetKind.MULTILABEL: label_schema,
    TargetKind.REGRESSION: value_schema,
}


def merge(folder: Path, parquet: Path, csv: Path) -> tuple[int, int]:
    """Joins the parts, one at a time, into a parquet and a CSV file; how many answers and how many broken files."""
    parts = sorted(folder.glob("part-*.parquet"))
    schema = pq.read_schema(parts[0])
    flat_names = [name for name in schema.names if name != Column.DISTRIBUTION]
    answered = broken = 0
    with (
        replacing(parquet) as beside_parquet,
        replacing(csv) as beside_csv,
        pq.ParquetWriter(beside_parquet, schema) as wide,
        pa_csv.CSVWriter(beside_csv, pa.schema([schema.field(name) for name in flat_names])) as flat,
    ):
        for part in parts:
            table = pq.read_table(part, schema=schema)
            wide.write_table(table)
            flat.write_table(table.select(flat_names))
            broken += table.num_rows - table[Column.REASON.value].null_count
            answered += table[Column.REASON.value].null_count
    return answered, broken
