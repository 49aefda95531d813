"""Decodes the text of a table, and splits it into records by the delimiter that its header uses."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from tasks.core.errors import DataRefusedError
from tasks.core.progress import say
from tasks.data.tables.cells import listed

DELIMITERS = (",", ";", "\t", "|")
SAMPLE = 200  # records from which the delimiter is recognized
MARKS = {  # UTF-32 first, since its mark begins with that of UTF-16
    codecs.BOM_UTF32_LE: "utf-32",
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n')  # the first line of files for Excel
BLANKS_AFTER_QUOTE = r'"[ \t]+(?=[{}\r\n]|$)'


class Records(NamedTuple):
    """The header, the rows as long as the header, and the line on which each row begins."""

    header: list[str]
    rows: list[list[str]]
    lines: list[int]


def decode_text(file: Path, data: bytes) -> str:
    """Decodes by the byte order mark, else as UTF-8, else as Windows-1252, and says so. Raises DataRefusedError."""
    encoding = next((name for mark, name in MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        text = _decode_western(file, data)
    if "\0" in text:
        raise DataRefusedError(f"{file} contains NUL characters; save it as UTF-8", key="table-encoding")
    return text


def _decode_western(file: Path, data: bytes) -> str:
    try:
        text = data.decode("cp1252")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise DataRefusedError(
            f"{file}: line {line} is not UTF-8; save the file as UTF-8", key="table-encoding"
        ) from None
    words = list(dict.fromkeys(re.findall(r"[^\W\d]*[^\x00-\x7f][^\W\d]*", text)))
    say(f"{file.name} is not UTF-8 and was read as Windows-1252 (save it as UTF-8 if this is wrong): {listed(words)}")
    return text


def split_records(file: Path, text: str, names: Collection[str], *, keep_blanks: bool = False) -> Records:
    """Splits delimited text. `names` are column names that make a header plausible.

    Blanks before a quote are skipped unless `keep_blanks` is set. Raises DataRefusedError for rows with more or fewer
    fields than the header, for repeated names, and for a quote that is not closed.
    """
    stated = SEPARATOR_LINE.match(text)
    body = text[stated.end() :] if stated else text
    delimiter = stated[1] if stated else _delimiter(body, names)
    try:
        records = list(_records(body, delimiter, skip=not keep_blanks))
    except csv.Error:
        body = re.sub(BLANKS_AFTER_QUOTE.format(re.escape(delimiter)), '"', body)
        records = _checked_records(file, body, delimiter, skip=not keep_blanks)
    if not records:
        raise DataRefusedError(f"{file} is empty", key="table-empty")
    header = _header(file, records[0][1])
    rows = [fields[: len(header)] if not any(fields[len(header) :]) else fields for _, fields in records[1:]]
    lines = [line + bool(stated) for line, _ in records[1:]]
    _check_lengths(file, rows, lines, len(header), delimiter)
    return Records(header, rows, lines)


def _records(text: str, delimiter: str, *, skip: bool) -> Iterator[tuple[int, list[str]]]:
    """Yields the line and the fields of each record, without those that are empty."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=skip, strict=True)
    line = 1
    for fields in reader:
        if any(field.strip() for field in fields):
            yield line, fields
        line = reader.line_num + 1


def _checked_records(file: Path, text: str, delimiter: str, *, skip: bool) -> list[tuple[int, list[str]]]:
    line, records = 0, []
    try:
        for record in _records(text, delimiter, skip=skip):
            line = record[0]
            records.append(record)
    except csv.Error as error:
        raise DataRefusedError(
            f"{file}: the row after line {line} cannot be read: {error}; close each quote, and double the quotes "
            "inside of a quoted field",
            key="table-quotes",
        ) from None
    return records


def _delimiter(text: str, names: Collection[str]) -> str:
    """Returns the delimiter for which the header has a usual name and most rows have as many fields as the header."""
    return max(DELIMITERS, key=lambda delimiter: _plausibility(text, delimiter, names))


def _plausibility(text: str, delimiter: str, names: Collection[str]) -> tuple[bool, float]:
    sample: list[list[str]] = []
    with suppress(csv.Error):  # of another delimiter, or reported later
        sample += (fields for _, fields in islice(_records(text, delimiter, skip=True), SAMPLE))
    if not sample or len(sample[0]) < 2:
        return False, 0.0
    is_usual = any(normal_name(name) in names for name in sample[0])
    return is_usual, sum(len(fields) == len(sample[0]) for fields in sample) / len(sample)


def normal_name(name: str) -> str:
    """Returns a column name without case, blanks and punctuation: `File_Name` and `filename` are the same."""
    return re.sub(r"[\W_]+", "", name).casefold()


def _header(file: Path, fields: list[str]) -> list[str]:
    """Returns the names; a column without one is called as pandas calls it, and left out if it is the last."""
    while len(fields) > 1 and not fields[-1].strip():
        fields = fields[:-1]
    names = [field.strip() or f"Unnamed: {place}" for place, field in enumerate(fields)]
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise DataRefusedError(
            f"{file}: the header has {listed(repeated)} twice; rename one of the columns", key="table-repeated-column"
        )
    return names


def _check_lengths(file: Path, rows: list[list[str]], lines: list[int], width: int, delimiter: str) -> None:
    wrong = [f"line {line} has {len(row)}" for row, line in zip(rows, lines, strict=True) if len(row) != width]
    if wrong:
        raise DataRefusedError(
            f"{file}: the header has {width} fields, but {listed(wrong)}; put quotes around a field that contains "
            f"{delimiter!r}",
            key="table-fields",
        )
