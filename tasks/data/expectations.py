"""Checks the manifest against the suite; the only module that runs Great Expectations.

Image files are profiled into the manifest first, and conditions across rows (an image in two splits, a class without
test images) become table columns, so that every rule is a built-in expectation.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from tasks.core.schema import HAS, LABELED_SPLITS, Column
from tasks.data.findings import Finding
from tasks.data.manifest import class_names, label_names, of_split, usable
from tasks.data.suite import (
    CLASSES,
    GROUP_SPLITS,
    IMAGES,
    IN_CLASS_MAP,
    LEFT_OUT,
    NEAR_DUPLICATES,
    PIXEL_LABELS,
    PIXEL_SPLITS,
    SHORT_SIDE,
    Rule,
)

NOTE = "note"
MAX_EXAMPLES = 20  # failed rows named in a finding


def check(manifest: pd.DataFrame, suite: list[Rule], pairs: Sequence[tuple[str, str]] = ()) -> list[Finding]:
    """Checks each rule on the manifest. `pairs` are the files of near-duplicates in two splits.

    Raises RuntimeError if a rule could not be evaluated.
    """
    tables = {IMAGES: image_table(manifest, pairs), CLASSES: class_table(manifest)}
    batches = dict(_batches(tables))
    return [_finding(rule, batches[rule.table]) for rule in suite]


def image_table(manifest: pd.DataFrame, pairs: Sequence[tuple[str, str]] = ()) -> pd.DataFrame:
    """Returns the manifest with a column for each rule on images. Unreadable rows have nulls, which rules ignore.

    Rows in quarantine although their pixels are known are not broken: they fit into no split.
    """
    readable = usable(manifest)
    by_pixels = readable.groupby(Column.PIXEL_HASH)
    counts = {
        PIXEL_SPLITS: by_pixels[Column.SPLIT].nunique(),
        PIXEL_LABELS: by_pixels[Column.LABEL].nunique(),
    }
    count = {name: manifest[Column.PIXEL_HASH].map(of_hash) for name, of_hash in counts.items()}
    labeled = readable[readable[Column.SPLIT].isin(LABELED_SPLITS)]  # unlabeled images cannot leak labels
    of_group = manifest[Column.GROUP].map(labeled.groupby(Column.GROUP)[Column.SPLIT].nunique())
    # Groups identified by pixel hash are already covered by the pixel rule.
    count[GROUP_SPLITS] = of_group.mask(manifest[Column.GROUP] == manifest[Column.PIXEL_HASH], 1)
    near = _near_duplicates(readable, pairs)
    was_read = manifest[Column.PIXEL_HASH].notna()
    note = manifest[Column.QUARANTINE]
    for notes in (_duplicates(readable), near):
        note = note.fillna(notes.reindex(manifest[Column.PATH]).set_axis(manifest.index))
    in_class_map = manifest[Column.LABEL].isin(class_names(readable)) | manifest[Column.LABEL].isna()
    return pd.DataFrame(
        {
            IMAGES: manifest[Column.PATH],
            Column.QUARANTINE: manifest[Column.QUARANTINE].mask(was_read, None),
            LEFT_OUT: manifest[Column.QUARANTINE].where(was_read, None),
            NEAR_DUPLICATES: manifest[Column.PATH].isin(near.index).astype(int),
            Column.SPLIT: manifest[Column.SPLIT].where(manifest[Column.QUARANTINE].isna()),
            SHORT_SIDE: manifest[[Column.WIDTH, Column.HEIGHT]].min(axis=1),
            IN_CLASS_MAP: in_class_map.where(manifest[Column.QUARANTINE].isna()),
            **count,
            NOTE: note,
        }
    ).astype(object)


def class_table(manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns one row per class with its numbers of usable images in the labeled splits."""
    counts = {split: _counts(of_split(manifest, split)) for split in LABELED_SPLITS}
    table = pd.DataFrame(counts).fillna(0).astype(int)
    note = [", ".join(f"{count} {split}" for split, count in row.items()) for _, row in table.iterrows()]
    return table.assign(**{NOTE: note}).rename_axis(CLASSES).sort_index().reset_index()


def _counts(rows: pd.DataFrame) -> pd.Series:
    """Returns the number of rows per label."""
    if labels := label_names(rows):
        return pd.Series({name: rows[f"{HAS}{name}"].sum() for name in labels})
    return rows[Column.LABEL].value_counts()


def _duplicates(readable: pd.DataFrame) -> pd.Series:
    """Returns, by path, a note on the other copies of each image that occurs more than once."""
    location = readable[Column.PATH] + " (" + readable[Column.SPLIT] + ")"
    copies = readable[readable.duplicated(Column.PIXEL_HASH, keep=False)]
    notes = {
        path: "the same picture as " + ", ".join(location[other] for other in group.index if other != row)
        for _, group in copies.groupby(Column.PIXEL_HASH)
        for row, path in group[Column.PATH].items()
    }
    return pd.Series(notes, dtype="string")


def _near_duplicates(readable: pd.DataFrame, pairs: Sequence[tuple[str, str]]) -> pd.Series:
    """Returns, by path, a note on the near-duplicate of each image that has one in another split."""
    split = readable.set_index(Column.PATH)[Column.SPLIT]
    both = [*pairs, *((b, a) for a, b in pairs)]
    notes = {path: f"almost the same picture as {other} ({split[other]})" for path, other in reversed(both)}
    return pd.Series(notes, dtype="string")


def _batches(tables: dict[str, pd.DataFrame]) -> Iterator[tuple[str, Any]]:
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    source = context.data_sources.add_pandas("manifest")
    for name, table in tables.items():
        definition = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe(name)
        yield name, definition.get_batch({"dataframe": table})


def _finding(rule: Rule, batch: Any) -> Finding:  # noqa: ANN401 - the library's batch
    import great_expectations.expectations as gxe

    expectation = getattr(gxe, rule.expectation)(**rule.arguments, severity=rule.severity)
    result_format = {"result_format": "COMPLETE", "unexpected_index_column_names": [rule.table, NOTE]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = batch.validate(expectation, result_format=result_format).to_json_dict()
    if outcome["exception_info"].get("raised_exception"):
        raise RuntimeError(f"the rule '{rule.title}' could not be evaluated: {outcome['exception_info']}")
    rows = [_name(row, rule.table) for row in outcome["result"].get("unexpected_index_list") or []]
    rows += [f"none is {value}" for value in outcome["result"].get("partial_missing_list") or []]
    success, examples = bool(outcome["success"]), tuple(rows[:MAX_EXAMPLES])
    return Finding(rule.title, rule.severity, success, len(rows), examples, rule.remedy)


def _name(row: dict[str, Any], table: str) -> str:
    return f"{row[table]}: {row[NOTE]}" if isinstance(row[NOTE], str) else str(row[table])
