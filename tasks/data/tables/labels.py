"""Reads the labels of each row: one class, several in a cell, or several in columns of 0 and 1."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tasks.core.errors import DataRefusedError
from tasks.core.progress import say
from tasks.core.schema import HAS, Column, Split
from tasks.data.tables.cells import listed, map_cells, rows_of, select_cells
from tasks.scorer.labels import LABELS_JOINED

LIST_TEXT = re.compile(r"\[\s*\]|\[.*['\",].*\]|\{.*['\",].*\}|\(.*['\"].*,.*\)", re.DOTALL)
WHOLE_NUMBER = re.compile(r"([+-]?\d+)\.0+")
BITS = {"0": 0.0, "0.0": 0.0, "false": 0.0, "1": 1.0, "1.0": 1.0, "true": 1.0}
LISTS_REMEDY = "join the labels of an image into one text with a separator, and set data.separator to it"


def clean_text(cell: object, *, keeps_blanks: bool = False) -> object:
    """Returns a text cell without blanks around it, in Unicode's composed form (NFC); None if nothing is left."""
    text = cell.decode(errors="replace") if isinstance(cell, bytes) else str(cell)
    stripped = unicodedata.normalize("NFC", text.strip())
    return stripped or (text if keeps_blanks and text else None)


def refuse_lists(file: Path, frame: pd.DataFrame, columns: Sequence[str]) -> None:
    """Raises DataRefusedError if a column of text contains lists, or if labels are the text of lists."""
    for name in columns:
        lists = select_cells(frame[name], pd.api.types.is_list_like)
        if name == Column.LABEL and not len(lists):
            lists = select_cells(frame[name], lambda cell: bool(LIST_TEXT.fullmatch(str(cell).strip())))
        if len(lists):
            raise DataRefusedError(
                f"data.source: {file}: {name} contains lists: {rows_of(lists)}; {LISTS_REMEDY}", key="table-lists"
            )


def with_equal_numbers(file: Path, labels: pd.Series) -> pd.Series:
    """Writes labels such as `1.0` as `1` if both occur, and says so."""
    present = set(labels.dropna())
    same = {label: match[1] for label in present if (match := WHOLE_NUMBER.fullmatch(label)) and match[1] in present}
    if same:
        pairs = [f"{label} is the class {number}" for label, number in sorted(same.items())]
        say(f"{file.name}: labels that are the same number: {listed(pairs)}")
    return labels.replace(same)


def with_separated_labels(file: Path, table: pd.DataFrame, separator: str) -> pd.DataFrame:
    """Adds a 0/1 column for each label; the label column then contains each image's labels, sorted and joined."""
    texts = table[Column.LABEL].fillna("").tolist()
    labels = [{part.strip() for part in text.split(separator)} - {""} for text in texts]
    used = table[Column.SPLIT] != Split.UNLABELED
    names = sorted({name for row, is_used in zip(labels, used, strict=True) if is_used for name in row})
    columns = {name: pd.Series([float(name in row) for row in labels], table.index) for name in names}
    return _with_label_columns(file, table, columns)


def with_label_columns(file: Path, table: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    """Prefixes the columns of 0 and 1, and joins the labels of each row; a row without any value is unlabeled."""
    texts = table[list(names)].apply(map_cells, function=lambda cell: str(cell).strip().casefold() or None)
    bits = texts.apply(map_cells, function=BITS.get)
    is_unlabeled = texts.isna().all(axis=1)
    wrong = bits.isna().any(axis=1) & ~is_unlabeled
    if wrong.any():
        raise DataRefusedError(
            f"data.labels: {file}: the columns must contain 0 or 1; not so for {rows_of(table[Column.PATH][wrong])}",
            key="data.labels",
        )
    columns = {name: bits[name].astype(float).fillna(0.0) for name in sorted(names)}
    table = table.drop(columns=list(names)).assign(**{Column.LABEL: pd.Series("", table.index).mask(is_unlabeled)})
    return _with_label_columns(file, table, columns)


def _with_label_columns(file: Path, table: pd.DataFrame, columns: dict[str, pd.Series]) -> pd.DataFrame:
    if joiners := [name for name in columns if LABELS_JOINED in name]:
        raise DataRefusedError(
            f"data.source: {file}: labels of images with several may not contain {LABELS_JOINED}, which stands between "
            f"them in predictions: {listed(joiners)}; rename them",
            key="table-label-joiner",
        )
    rows = zip(*(column > 0 for column in columns.values()), strict=True) if columns else ()
    joined = [LABELS_JOINED.join(name for name, has in zip(columns, row, strict=True) if has) for row in rows]
    labels = pd.Series(joined or "", table.index, dtype="string").where(table[Column.LABEL].notna(), None)
    prefixed = pd.DataFrame({f"{HAS}{name}": column for name, column in columns.items()}, index=table.index)
    return pd.concat([table.assign(**{Column.LABEL: labels}), prefixed], axis=1)
