"""Finds the types of the columns of text formats, so that the same table has the same types in each format."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pandas as pd

from tasks.data.tables.cells import map_cells
from tasks.data.tables.files import DELIMITED, LINES, format_of


def parse_types(file: Path, frame: pd.DataFrame) -> pd.DataFrame:
    """Returns columns of numbers, booleans or text. Columns of Parquet have their types already."""
    if frame.empty or format_of(file) not in {*DELIMITED, *LINES}:
        return frame
    parsed = _parse_texts(frame) if format_of(file) in DELIMITED else frame.apply(_plain)
    return parsed.set_axis(frame.index).set_axis(frame.columns, axis=1)


def _parse_texts(frame: pd.DataFrame) -> pd.DataFrame:
    """Reads the texts as pandas reads CSV, treating only empty cells as missing, since None and NA are valid names."""
    buffer = io.StringIO()
    frame.map(str.strip).to_csv(buffer, index=False)
    buffer.seek(0)
    parsed: pd.DataFrame = pd.read_csv(
        buffer, keep_default_na=False, na_values=[""], low_memory=False, skip_blank_lines=False
    )
    return parsed


def _plain(column: pd.Series) -> pd.Series:
    """Returns a column of one type; objects and lists become JSON, and cells of different types become text."""
    plain = map_cells(column, _as_text_if_nested).infer_objects()
    is_mixed = pd.api.types.infer_dtype(plain, skipna=True) in {"mixed", "mixed-integer"}
    return map_cells(plain, str) if is_mixed else plain


def _as_text_if_nested(cell: object) -> object:
    return json.dumps(cell, ensure_ascii=False) if isinstance(cell, (dict, list)) else cell
