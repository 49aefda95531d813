"""Reads tabular sources, CSV or Parquet files with one row per image, and copies them for ingest.

Columns: `path`, relative to the table's folder; `label`, or the regression targets (data.targets); optionally `split`,
`group` and `weight`. All others are kept for slices (evaluate.slices). With a data.separator the data is multi-label: a
cell that contains only the separator means no labels, while an empty cell means that the image is unlabeled.
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

SOURCE_COLUMNS = {Column.PATH, Column.LABEL, Column.SPLIT, Column.GROUP, Column.WEIGHT}
RESERVED = set(Column) - SOURCE_COLUMNS
MAX_NAME_BYTES = 255
PREDICTION_COLUMNS = {Column.REASON, Column.DISTRIBUTION}  # stored beside the targets in predictions, without a prefix
TEXTS = dict.fromkeys((Column.PATH, Column.LABEL, Column.SPLIT, Column.GROUP), "string")


def read_table(file: Path, targets: Sequence[str] = (), separator: str | None = None) -> pd.DataFrame:
    """Reads and checks a table, and prefixes its targets. Raises DataRefusedError naming the column or row at fault."""
    if separator and targets:
        raise DataRefusedError(
            "data.separator: cannot be combined with targets; set it to null, or data.targets to []",
            key="data.separator",
        )
    try:
        table = _read_csv(file) if file.suffix.lower() == ".csv" else pd.read_parquet(file)
    except Exception as error:  # readers raise all kinds of errors for damaged files
        raise DataRefusedError(f"data.source: {file} cannot be read as a table: {error}", key="table-damaged") from None
    if table.empty:
        raise DataRefusedError(f"data.source: {file} has no rows", key="table-empty")
    _check_columns(file, table, targets)
    table.columns = [str(name) for name in table]
    _check_names(file, table, targets)
    table = _with_targets(file, table, targets)
    texts = [name for name in TEXTS if name in table]
    table[texts] = table[texts].astype("string").replace("", pd.NA)  # Parquet distinguishes empty from missing
    _check_paths(file, table)
    _check_weights(file, table)
    table = table.assign(**{Column.SPLIT: _splits(file, table)})
    return _with_labels(table, separator) if separator else table


def _check_columns(file: Path, table: pd.DataFrame, targets: Sequence[str]) -> None:
    missing = [str(name) for name in (Column.PATH, *(targets or [Column.LABEL])) if name not in table]
    if missing:
        raise DataRefusedError(
            f"data.source: {file} has no column {' or '.join(missing)}; it has {_names(table)}"
            + ("" if targets else ". To predict numbers, name their columns in data.targets"),
            key="table-columns",
        )


def _check_names(file: Path, table: pd.DataFrame, targets: Sequence[str]) -> None:
    """Raises DataRefusedError for columns with reserved names, and for lists in text columns."""
    reserved = RESERVED - (set(targets) - PREDICTION_COLUMNS)  # other targets get a prefix
    if clash := [name for name in map(str, table) if name in reserved or name.startswith((HAS, TARGET, ANSWER))]:
        raise DataRefusedError(
            f"data.source: {file}: rename {', '.join(clash)}: Rootstock uses these column names itself",
            key="table-reserved-column",
        )
    lists = [name for name in TEXTS if name in table and table[name].map(pd.api.types.is_list_like).any()]
    if lists:
        raise DataRefusedError(
            f"data.source: {file}: {', '.join(lists)} contains lists; join the labels of an image into one text with "
            "a separator, and set data.separator to it",
            key="table-lists",
        )


def _read_csv(file: Path) -> pd.DataFrame:
    """Reads a CSV file, treating only empty cells as missing, since None and NA are valid class names."""
    table: pd.DataFrame = pd.read_csv(file, dtype=TEXTS, keep_default_na=False, na_values=[""], low_memory=False)
    return table


def _with_targets(file: Path, table: pd.DataFrame, targets: Sequence[str]) -> pd.DataFrame:
    """Converts the targets to numbers in prefixed columns, and drops the label column if there are targets."""
    if not targets:
        return table
    numbers = table[list(targets)].apply(pd.to_numeric, errors="coerce").replace([np.inf, -np.inf], np.nan)
    wrong = table.loc[(numbers.isna() & table[list(targets)].notna()).any(axis=1), Column.PATH]
    if len(wrong):
        raise DataRefusedError(
            f"data.source: {file}: targets must be finite numbers; they are not for {_some(wrong)}", key="table-targets"
        )
    kept: pd.DataFrame = table.drop(columns=[*targets, *({Column.LABEL} & set(table.columns))])
    marked: pd.DataFrame = pd.concat([kept, numbers.astype(float).add_prefix(TARGET)], axis=1)
    return marked


def _with_labels(table: pd.DataFrame, separator: str) -> pd.DataFrame:
    """Adds a 0/1 column for each label; the label column then contains each image's labels, sorted and joined."""
    labels = (
        table[Column.LABEL].fillna("").map(lambda text: sorted({part.strip() for part in text.split(separator)} - {""}))
    )
    is_labeled = table[Column.LABEL].notna()
    used = table[Column.SPLIT] != Split.UNLABELED
    names = sorted({name for row in labels[used] for name in row})
    has = {f"{HAS}{name}": labels.map(lambda row, name=name: float(name in row)) for name in names}
    joined = labels.map(LABELS_JOINED.join).astype("string").where(is_labeled, None)
    return table.assign(**{Column.LABEL: joined}, **has)


def _check_paths(file: Path, table: pd.DataFrame) -> None:
    names = table[Column.PATH].map(_name, na_action="ignore")
    invalid = table.loc[names.map(_cannot_exist, na_action="ignore").fillna(False).astype(bool), Column.PATH]
    if len(invalid):
        raise DataRefusedError(
            f"data.source: {file}: paths that no file can have: {_some(invalid.str.slice(stop=80))}",
            key="table-invalid-path",
        )
    wrong = table.loc[names.duplicated() | names.isna(), Column.PATH]
    if len(wrong):
        raise DataRefusedError(
            f"data.source: {file}: rows with a missing or repeated path: {_some(wrong)}", key="table-repeated-path"
        )


def _check_weights(file: Path, table: pd.DataFrame) -> None:
    if Column.WEIGHT not in table:
        return
    weight = pd.to_numeric(table[Column.WEIGHT], errors="coerce")
    wrong = table.loc[~weight.between(0, np.inf, inclusive="neither"), Column.PATH]
    if len(wrong):
        raise DataRefusedError(
            f"data.source: {file}: weights must be finite numbers above 0; they are not for {_some(wrong)}",
            key="table-weights",
        )


def _splits(file: Path, table: pd.DataFrame) -> pd.Series:
    """Returns each row's split, or None if the table has no splits; rows without a label or target are unlabeled."""
    names = table[Column.SPLIT] if Column.SPLIT in table else pd.Series(pd.NA, index=table.index, dtype="string")
    splits = names.str.lower().map({name: split.value for name, split in SPLIT_FOLDERS.items()})
    wrong = sorted(set(names[names.notna() & splits.isna()]))
    if wrong:
        raise DataRefusedError(
            f"data.source: {file}: unknown splits {', '.join(wrong)}; use {', '.join(Split)}", key="table-splits"
        )
    targets = [name for name in table.columns if name.startswith(TARGET)]
    is_unlabeled = table[targets or [Column.LABEL.value]].isna().any(axis=1)
    splits = splits.mask(is_unlabeled, Split.UNLABELED.value).astype(object)
    return splits.where(splits.notna(), None)


def bring_together(
    file: Path, folder: Path, targets: Sequence[str] = (), separator: str | None = None, *, trusted: bool = True
) -> Path:
    """Copies the table and its images into `folder`, unless the existing copy is up to date. Returns `folder`.

    Missing files are skipped; ingest lists them. Raises DataRefusedError if a table that is not `trusted`, such as one
    from an archive, names a file outside of its folder.
    """
    table = read_table(file, targets, separator)
    sources, names = [file.parent / path for path in table[Column.PATH]], [_name(path) for path in table[Column.PATH]]
    outside = [not source.resolve().is_relative_to(file.parent.resolve()) for source in sources]
    if any(outside) and not trusted:
        raise DataRefusedError(
            f"data.source: {file} names files outside of its archive: {_some(table[Column.PATH][outside])}",
            key="table-outside",
        )
    note, asked = folder.with_name(f"{folder.name}.sha256"), [*targets, separator or "", code_digest(__name__)]
    now = _digest([file, *sources], asked)
    if folder.exists() and note.exists() and note.read_text(encoding="utf-8") == now:
        return folder
    _copy_all(file, table.assign(**{Column.PATH: names}), sources, folder)
    write_text(note, now)
    return folder


def _copy_all(file: Path, table: pd.DataFrame, sources: Sequence[Path], folder: Path) -> None:
    """Replaces `folder` with the table and a copy of each source, at the path given in its table row."""
    beside = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    for source, name in zip(sources, table[Column.PATH], strict=True):
        if source.is_file():
            (beside / name).parent.mkdir(parents=True, exist_ok=True)
            _copy(file, source, beside / name)
    with replacing(beside / TABLE) as target:
        table.to_parquet(target, index=False)
    shutil.rmtree(folder, ignore_errors=True)
    beside.rename(folder)


def _copy(table: Path, source: Path, target: Path) -> None:
    try:
        shutil.copy2(source, target)
    except PermissionError:
        raise DataRefusedError(
            f"data.source: {table}: {source} is not readable; change its permissions", key="table-unreadable-image"
        ) from None


def _digest(files: Sequence[Path], asked: Sequence[str]) -> str:
    """Returns the digest of the files' names, sizes and times (names only if missing), and of the options `asked`."""
    facts = [(str(file), (file.stat().st_size, file.stat().st_mtime_ns) if file.exists() else None) for file in files]
    return hashlib.sha256(repr((facts, tuple(asked))).encode()).hexdigest()


def _cannot_exist(path: str) -> bool:
    """Returns whether the path cannot exist on any file system: NUL byte, or a component over 255 bytes."""
    return "\0" in path or any(len(os.fsencode(part)) > MAX_NAME_BYTES for part in PurePosixPath(path).parts)


def _name(path: str) -> str:
    """Returns the copy's path inside the folder: the same path, unless it points outside of the folder."""
    pure = PurePosixPath(path)
    if not pure.is_absolute() and ".." not in pure.parts:
        return str(pure)
    return f"{hashlib.sha256(path.encode()).hexdigest()[:16]}-{pure.name}"


def _names(table: pd.DataFrame) -> str:
    return ", ".join(map(str, table.columns))


def _some(paths: pd.Series) -> str:
    return ", ".join(map(str, paths.head(3))) + (" ..." if len(paths) > 3 else "")
