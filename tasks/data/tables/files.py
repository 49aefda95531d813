"""Reads table files of every supported format as they are, with the line or row number of each row as the index."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd

from tasks.core.errors import DataRefusedError
from tasks.data.tables.columns import LABEL_NAMES, PATH_NAMES
from tasks.data.tables.text import decode_text, normal_name, split_records

DELIMITED, LINES, COLUMNAR = (".csv", ".tsv"), (".jsonl", ".ndjson"), (".parquet",)
SUFFIXES = (*DELIMITED, *LINES, *COLUMNAR, *(f"{suffix}.gz" for suffix in (*DELIMITED, *LINES)))
MAX_BYTES = 4 * 2**30  # of an uncompressed table
AS_CSV = "export it as .csv, with a row for each image"
WITH_FILES = "write each image to a file, and a .csv table with the columns path and label"
OTHER_KINDS = {  # files of labels that are not read, and what to do
    **dict.fromkeys((".xlsx", ".xls", ".ods", ".numbers"), AS_CSV),
    **dict.fromkeys((".feather", ".pkl", ".pickle", ".sqlite", ".db", ".xml", ".yaml", ".yml", ".orc"), AS_CSV),
    ".json": "write a .jsonl file, with one JSON object for each image on a line of its own, or a .csv file",
    **dict.fromkeys((".arrow", ".tfrecord", ".tfrecords", ".lmdb", ".mdb"), WITH_FILES),
    **dict.fromkeys((".npz", ".npy", ".mat", ".h5", ".hdf5"), WITH_FILES),
}
CONTENTS = {  # first bytes of files that often have the suffix of a table
    b"PK\x03\x04": f"a spreadsheet or a zip archive: {AS_CSV}",
    b"\xd0\xcf\x11\xe0": f"a spreadsheet: {AS_CSV}",
    b"version https://git-lfs": "a pointer of Git LFS: run git lfs pull",
    b"<!doctype html": "an HTML page: download the file itself",
    b"<html": "an HTML page: download the file itself",
}


def is_table(file: Path) -> bool:
    """Returns whether the file has the suffix of a supported table format."""
    return file.name.lower().endswith(SUFFIXES)


def format_of(file: Path) -> str:
    """Returns the suffix without that of compression: `.csv` for `labels.CSV.gz`."""
    return Path(file.name.lower().removesuffix(".gz")).suffix


def refuse_other_kind(file: Path) -> None:
    """Raises DataRefusedError, with what to do, for a file of a kind that holds labels or images but is not read."""
    if remedy := OTHER_KINDS.get(file.suffix.lower()):
        raise DataRefusedError(f"{file}: {file.suffix} files are not read; {remedy}", key="table-kind")


def read_frame(file: Path, names: Collection[str] = (), *, keep_blanks: bool = False) -> pd.DataFrame:
    """Reads a table; the cells of text formats are texts, those of the others are of any type.

    `names` are normal names of columns that are expected besides the usual ones. The index is the line of a text file,
    or the number of the row. Raises DataRefusedError if the file cannot be read.
    """
    try:
        if format_of(file) in COLUMNAR:
            return _whole_parquet(file, names)
        text = decode_text(file, _content(file))
    except (OSError, ValueError, EOFError, zlib.error) as error:  # of gzip and Arrow
        raise DataRefusedError(f"{file} cannot be read as a table: {error}", key="table-damaged") from None
    if format_of(file) in LINES:
        return _read_lines(file, text)
    records = split_records(file, text, {*PATH_NAMES, *LABEL_NAMES, *names}, keep_blanks=keep_blanks)
    index = pd.Index(records.lines, name="line")
    return pd.DataFrame(records.rows, columns=records.header, index=index, dtype=object)


def _content(file: Path) -> bytes:
    """Returns the bytes, uncompressed. Raises DataRefusedError for other kinds of files with the suffix of a table."""
    with file.open("rb") as opened:
        is_compressed = opened.read(2) == b"\x1f\x8b"
        opened.seek(0)
        with gzip.GzipFile(fileobj=opened) if is_compressed else opened as content:
            data: bytes = content.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise DataRefusedError(f"{file} is larger than {MAX_BYTES // 2**30} GiB; split it", key="table-too-large")
    for start, kind in CONTENTS.items():
        if data[:64].lstrip().lower().startswith(start.lower()):
            raise DataRefusedError(f"{file} is no table but {kind}", key="table-kind")
    return data


def _read_lines(file: Path, text: str) -> pd.DataFrame:
    """Reads one JSON object per line. Objects and lists within a row stay as they are."""
    if text.lstrip().startswith("["):
        raise DataRefusedError(f"{file} is a JSON list; {OTHER_KINDS['.json']}", key="table-kind")
    rows: dict[int, dict[str, Any]] = {}
    for line, content in enumerate(io.StringIO(text), 1):
        if content.strip():
            rows[line] = _parsed(file, line, content)
    frame = pd.DataFrame(list(rows.values()), index=pd.Index(list(rows), name="line"), dtype=object)
    return frame.rename(columns=str.strip)


def _parsed(file: Path, line: int, content: str) -> dict[str, Any]:
    try:
        row = json.loads(content)
        if "\\u" in content:
            json.dumps(row, ensure_ascii=False).encode()  # fails for half of a surrogate pair, which is no text
    except json.JSONDecodeError as error:
        row, reason = None, f"{error.msg} in column {error.colno}"
    except (ValueError, RecursionError) as error:
        row, reason = None, str(error)
    else:
        reason = "it is no object"
    if not isinstance(row, dict):
        raise DataRefusedError(
            f"{file}: line {line} cannot be read: {reason}; write one JSON object for each image on a line of its own",
            key="table-json",
        )
    return row


def _whole_parquet(file: Path, names: Collection[str]) -> pd.DataFrame:
    """Reads Parquet. Raises ValueError if the file is damaged."""
    import pyarrow as pa

    try:
        frame = _read_parquet(file, names)
        for place in range(frame.shape[1]):  # names may be repeated
            column = frame.iloc[:, place].array
            if isinstance(column.dtype, pd.StringDtype):
                pa.array(column, from_pandas=True).validate(full=True)  # Arrow itself reads text that is no UTF-8
    except pa.ArrowException as error:  # not all of them are errors of values or files
        raise ValueError(str(error)) from None
    return frame


def _read_parquet(file: Path, names: Collection[str]) -> pd.DataFrame:
    """Reads Parquet, with a named index as a column. Refuses a table that holds the images themselves."""
    import pyarrow.parquet as pq

    schema = pq.read_schema(file)
    images = [field.name for field in schema if _holds_bytes(field.type)]
    texts = {normal_name(field.name) for field in schema if _holds_text(field.type)}
    if images and not texts & {*PATH_NAMES, *names}:
        raise DataRefusedError(
            f"{file}: the column {images[0]} contains the images themselves, which are not read; {WITH_FILES}",
            key="table-image-bytes",
        )
    frame = pd.read_parquet(file)
    named = [name for name in frame.index.names if name is not None]
    frame = frame.reset_index(named) if named else frame
    frame.columns = pd.Index([str(name).strip() for name in frame])
    return frame.set_axis(pd.RangeIndex(1, len(frame) + 1, name="row"))


def _holds_bytes(kind: Any) -> bool:  # noqa: ANN401 - an Arrow type
    import pyarrow.types as kinds

    if kinds.is_struct(kind):
        return any(_holds_bytes(field.type) for field in kind)
    return bool(kinds.is_binary(kind) or kinds.is_large_binary(kind))


def _holds_text(kind: Any) -> bool:  # noqa: ANN401
    import pyarrow.types as kinds

    return bool(kinds.is_string(kind) or kinds.is_large_string(kind) or kinds.is_dictionary(kind))
