"""Sources that are a table: a CSV or parquet file with a row an image, brought into the form that ingest reads.

Columns: `path`, relative to the table's folder; `label`, or columns of numbers to predict (data.targets); optional
`split`, `group` and `weight`. All others are kept, to tell scores apart by (evaluate.slices). With a data.separator an
image may have several labels, or none, which is a separator alone: an empty cell is an image that is not labelled.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from tasks.core.digest import code_digest
from tasks.core.errors import DataRefusedError
from tasks.core.files import replacing, write_text
from tasks.core.schema import ANSWER, HAS, TABLE, TARGET, Column, Split
from tasks.data.splits import SPLIT_FOLDERS
from tasks.scorer.labels import LABELS_JOINED

OWN = {Column.PATH, Column.LABEL, Column.SPLIT, Column.GROUP, Column.WEIGHT}
RESERVED = set(Column) - OWN
LONGEST = 255  # bytes of a file's name
ANSWERED = {Column.REASON, Column.DISTRIBUTION}  # columns that answers have beside the targets
TEXTS = dict.fromkeys((Column.PATH, Column.LABEL, Column.SPLIT, Column.GROUP), "string")


def read_table(file: Path, targets: Sequence[str] = (), separator: str | None = None) -> pd.DataFrame:
    """The table, checked, its targets marked. Raises DataRefusedError saying which column or row is wrong."""
    if separator and targets:
        raise DataRefusedError("data.separator: targets have no labels; set it to null, or data.targets to []")
    try:
        table = _read_csv(file) if file.suffix.lower() == ".csv" else pd.read_parquet(file)
    except Exception as error:  # what the readers raise for broken files is an open set
        raise DataRefusedError(f"data.source: {file} is no table: {error}") from None
    if table.empty:
        raise DataRefusedError(f"data.source: {file} has no rows")
    missing = [str(name) for name in (Column.PATH, *(targets or [Column.LABEL])) if name not in table]
    if missing:
        raise DataRefusedError(
            f"data.source: {file} has no column {' or '.join(missing)}; it has {_names(table)}"
            + ("" if targets else ". To predict numbers, name their columns in data.targets")
        )
    table.columns = names = [str(name) for name in table]
    reserved = RESERVED - (set(targets) - ANSWERED)  # targets get a name of their own
    if clash := [name for name in names if name in reserved or name.startswith((HAS, TARGET, ANSWER))]:
        raise DataRefusedError(
            f"data.source: {file}: rename {', '.join(clash)}: Rootstock makes columns of these names"
        )
    lists = [name for name in TEXTS if name in table and table[name].map(pd.api.types.is_list_like).any()]
    if lists:
        raise DataRefusedError(
            f"data.source: {file}: {', '.join(lists)} holds lists; write an image's labels as one text, with a "
            "separator between them that data.separator names"
        )
    table = _with_targets(file, table, targets)
    texts = [name for name in TEXTS if name in table]
    table[texts] = table[texts].astype("string").replace("", pd.NA)  # a parquet file tells empty from missing
    _check(file, table)
    table = table.assign(**{Column.SPLIT: _splits(file, table)})
    return _with_labels(table, separator) if separator else table


def _read_csv(file: Path) -> pd.DataFrame:
    """Only an empty cell is missing: None and NA are good names of classes."""
    table: pd.DataFrame = pd.read_csv(file, dtype=TEXTS, keep_default_na=False, na_values=[""], low_memory=False)
    return table


def _with_targets(file: Path, table: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
    """The targets as numbers, in columns marked as such; where there are some, there is no label."""
    if not targets:
        return table
    numbers = table[list(targets)].apply(pd.to_numeric, errors="coerce").replace([np.inf, -np.inf], np.nan)
    wrong = table.loc[(numbers.isna() & table[list(targets)].notna()).any(axis=1), Column.PATH]
    if len(wrong):
        raise DataRefusedError(f"data.source: {file}: targets must be numbers, not so for {_some(wrong)}")
    kept: pd.DataFrame = table.drop(columns=[*targets, *({Column.LABEL} & set(table.columns))])
    marked: pd.DataFrame = pd.concat([kept, numbers.astype(float).add_prefix(TARGET)], axis=1)
    return marked


def _with_labels(table: pd.DataFrame, separator: str) -> pd.DataFrame:
    """A column of 0 and 1 for each label; the label itself is all of an image's, sorted and joined."""
    labels = (
        table[Column.LABEL].fillna("").map(lambda text: sorted({part.strip() for part in text.split(separator)} - {""}))
    )
    known = table[Column.LABEL].notna()
    used = table[Column.SPLIT] != Split.UNLABELLED
    names = sorted({name for own in labels[used] for name in own})
    has = {f"{HAS}{name}": labels.map(lambda own, name=name: float(name in own)) for name in names}
    joined = labels.map(LABELS_JOINED.join).astype("string").where(known, None)
    return table.assign(**{Column.LABEL: joined}, **has)


def _check(file: Path, table: pd.DataFrame) -> None:
    names = table[Column.PATH].map(_name, na_action="ignore")
    long = table.loc[names.map(_is_no_name, na_action="ignore").fillna(False).astype(bool), Column.PATH]
    if len(long):
        raise DataRefusedError(f"data.source: {file}: no file can have such a path: {_some(long.str.slice(stop=80))}")
    twice = table.loc[names.duplicated() | names.isna(), Column.PATH]
    if len(twice):
        raise DataRefusedError(f"data.source: {file}: rows without a path or with one twice: {_some(twice)}")
    if Column.WEIGHT in table:
        weight = pd.to_numeric(table[Column.WEIGHT], errors="coerce")
        wrong = table.loc[~weight.between(0, np.inf, inclusive="neither"), Column.PATH]
        if len(wrong):
            raise DataRefusedError(f"data.source: {file}: weights must be numbers above 0, not so for {_some(wrong)}")


def _splits(file: Path, table: pd.DataFrame) -> pd.Series:
    """The split of each row where one is given; rows without a label are unlabelled."""
    given = table[Column.SPLIT] if Column.SPLIT in table else pd.Series(pd.NA, index=table.index, dtype="string")
    known = given.str.lower().map({name: split.value for name, split in SPLIT_FOLDERS.items()})
    wrong = given[given.notna() & known.isna()]
    if len(wrong):
        told = ", ".join(sorted(set(wrong)))
        raise DataRefusedError(f"data.source: {file}: splits {told} are not known; use {', '.join(Split)}")
    targets = [name for name in table.columns if name.startswith(TARGET)]
    unknown = table[targets or [Column.LABEL.value]].isna().any(axis=1)
    known = known.mask(unknown, Split.UNLABELLED.value).astype(object)
    return known.where(known.notna(), None)


def bring_together(
    file: Path, folder: Path, targets: Sequence[str] = (), separator: str | None = None, *, trusted: bool = True
) -> Path:
    """Copies the table's images and the table into `folder`, unless that holds them as they are now.

    Files that are missing are left out: ingest lists them. Raises DataRefusedError for a table that is not `trusted`,
    such as one from an archive, and names a file outside of its own folder.
    """
    table = read_table(file, targets, separator)
    sources, names = [file.parent / path for path in table[Column.PATH]], [_name(path) for path in table[Column.PATH]]
    outside = [not source.resolve().is_relative_to(file.parent.resolve()) for source in sources]
    if any(outside) and not trusted:
        raise DataRefusedError(
            f"data.source: {file} names files outside of its archive: {_some(table[Column.PATH][outside])}"
        )
    note, asked = folder.with_name(f"{folder.name}.sha256"), [*targets, separator or "", code_digest(__name__)]
    now = _digest([file, *sources], asked)
    if folder.exists() and note.exists() and note.read_text(encoding="utf-8") == now:
        return folder
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    for source, name in zip(sources, names, strict=True):
        if source.is_file():
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            _copy(file, source, beside / name)
    with replacing(beside / TABLE) as target:
        table.assign(**{Column.PATH: names}).to_parquet(target, index=False)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)
    write_text(note, now)
    return folder


def _copy(table: Path, source: Path, target: Path) -> None:
    try:
        shutil.copy2(source, target)
    except PermissionError:
        raise DataRefusedError(f"data.source: {table}: {source} may not be read; change its permissions") from None


def _digest(files: Sequence[Path], asked: Sequence[str]) -> str:
    """Of the names, sizes and times of files, names alone for those that are missing; and of what is asked of them."""
    facts = [(str(file), (file.stat().st_size, file.stat().st_mtime_ns) if file.exists() else None) for file in files]
    return hashlib.sha256(repr((facts, tuple(asked))).encode()).hexdigest()


def _is_no_name(path: str) -> bool:
    """Whether no file system knows such a path."""
    return "\0" in path or any(len(os.fsencode(part)) > LONGEST for part in PurePosixPath(path).parts)


def _name(path: str) -> str:
    """A place below the folder for each path: its own if it leads nowhere else."""
    pure = PurePosixPath(path)
    if not pure.is_absolute() and ".." not in pure.parts:
        return str(pure)
    return f"{hashlib.sha256(path.encode()).hexdigest()[:16]}-{pure.name}"


def _names(table: pd.DataFrame) -> str:
    return ", ".join(map(str, table.columns))


def _some(paths: pd.Series) -> str:
    return ", ".join(map(str, paths.head(3))) + (" ..." if len(paths) > 3 else "")
