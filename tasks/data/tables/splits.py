"""Reads the split of each row: from the column `split`, or from another column that clearly means it."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from tasks.core.errors import DataRefusedError
from tasks.core.progress import say
from tasks.core.schema import TARGET, Column, Split
from tasks.data.split_words import SPLIT_FOLDERS, split_in
from tasks.data.tables.cells import column_names, map_cells, rows_of
from tasks.data.tables.labels import BITS
from tasks.data.tables.text import normal_name

FLAGS = {  # columns of true and false: the split of true, and that of false
    "isvalid": (Split.VALIDATION, Split.TRAIN),
    "isval": (Split.VALIDATION, Split.TRAIN),
    "isvalidation": (Split.VALIDATION, Split.TRAIN),
    "istest": (Split.TEST, Split.TRAIN),
    "istrain": (Split.TRAIN, Split.TEST),
    "istraining": (Split.TRAIN, Split.TEST),
    "istrainingimage": (Split.TRAIN, Split.TEST),
}
WORDS = frozenset({"split", "splits", "datasplit", "fold", "subset", "set", "dataset", "partition", "usage", "phase"})
PUBLIC_TEST, PRIVATE_TEST = "publictest", "privatetest"  # validation and test in challenges


def with_splits(file: Path, table: pd.DataFrame) -> pd.DataFrame:
    """Adds each row's split, None where it has yet to be assigned; rows without a label or target are unlabeled.

    Raises DataRefusedError for words in the column `split` that are no splits.
    """
    if Column.SPLIT in table:
        splits = map_cells(table[Column.SPLIT], _split_in)
        wrong = table[Column.SPLIT][table[Column.SPLIT].notna() & splits.isna()]
        if len(wrong):
            words = wrong.drop_duplicates()
            raise DataRefusedError(
                f"data.source: {file}: unknown splits: {rows_of(words)}; use {', '.join(Split)}", key="table-splits"
            )
    else:
        splits = _from_other_columns(file, table)
    targets = [name for name in table.columns if name.startswith(TARGET)]
    is_unlabeled = table[targets or [Column.LABEL.value]].isna().any(axis=1)
    splits = splits.astype(object).mask(is_unlabeled, Split.UNLABELED.value)
    return table.assign(**{Column.SPLIT: splits.where(splits.notna(), None)})


def _split_of(word: object) -> str | None:
    """Returns the split that a word means, if it means one."""
    text = str(word).strip().casefold()
    challenge = {PUBLIC_TEST: Split.VALIDATION, PRIVATE_TEST: Split.TEST}
    split = SPLIT_FOLDERS.get(text) or challenge.get(text)
    return split.value if split else None


def _split_in(text: object) -> str | None:
    """Returns the split that a word means, or the words in a phrase such as `training set`."""
    split = split_in(str(text))
    return _split_of(text) or (split.value if split else None)


def _from_other_columns(file: Path, table: pd.DataFrame) -> pd.Series:
    """Returns the splits of the only other column that means one, and says so; otherwise NA for all rows."""
    none = pd.Series(pd.NA, index=table.index, dtype="string")
    alike = [name for name in column_names(table) if normal_name(name) in {*FLAGS, *WORDS}]
    readings = {name: reading for name in alike if (reading := _reading(name, table[name])) is not None}
    if len(alike) == 1 and readings:
        name, splits = readings.popitem()
        counts = ", ".join(f"{count} {split}" for split, count in splits.value_counts().items())
        say(f"{file.name}: the column {name} is used as the split: {counts}")
        return splits
    if {normal_name(name) for name in alike} <= FLAGS.keys() and len(readings) == len(alike) == 2:
        both = _both(*readings.values())
        if both is not None:
            say(f"{file.name}: the columns {' and '.join(readings)} are used as the split")
            return both
    if alike:
        say(
            f"{file.name}: {', '.join(alike)} may be meant as the split, but is not used; for that, write a column "
            f"split with the words {', '.join(Split)}"
        )
    return none


def _reading(name: str, column: pd.Series) -> pd.Series | None:
    """Returns the splits that a column means, or None if a cell is empty or means none, or if all mean the same."""
    if normal_name(name) in FLAGS:
        of_true, of_false = FLAGS[normal_name(name)]
        words = {text: (of_true if bit else of_false).value for text, bit in BITS.items()}
        splits = map_cells(column, lambda cell: words.get(str(cell).strip().casefold()))
    else:
        splits = map_cells(column, _split_of)
    is_clear = splits.notna().all() and (splits == Split.TRAIN).any() and splits.nunique() > 1
    return splits.astype("string") if is_clear else None


def _both(first: pd.Series, second: pd.Series) -> pd.Series | None:
    """Combines two flags; None if a row is held out by both, or if a flag of training excludes the other's rows."""
    is_train, other_is_train = first == Split.TRAIN, second == Split.TRAIN
    if (~is_train & ~other_is_train).any():
        return None
    return first.where(~is_train, second)
