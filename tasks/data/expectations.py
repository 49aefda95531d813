"""What is expected of the data, as a Great Expectations suite over the manifest; the only user of that library.

Image files are profiled into the manifest first, and what concerns several rows (a picture in two splits, a class
without test images) becomes a column of a table, so that every rule is one of the library's own expectations.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tasks.core.schema import HAS, LABELLED_SPLITS, Column, Split
from tasks.data.findings import Finding
from tasks.data.manifest import class_names, label_names, of_split, usable

IMAGES, CLASSES, NOTE = "image", "class", "note"
SHORT_SIDE, KNOWN, SPLITS, LABELS = "short_side", "label_known", "splits_with_these_pixels", "labels_with_these_pixels"
GROUP_SPLITS = "splits_with_this_group"
KNOWN_LABELS, ONE_LABEL = "Every label is one of the training split's", "No picture has two labels"
OF_CLASSES = {KNOWN_LABELS, ONE_LABEL}
CRITICAL, WARNING = "critical", "warning"
EXAMPLES = 20


@dataclass(frozen=True)
class Rule:
    """One expectation: on which table, how grave its failure is, and what to do about it."""

    title: str
    table: str
    expectation: str
    arguments: dict[str, Any]
    severity: str
    remedy: str


def rules(min_side: int, max_unreadable: float, targets: Sequence[str] = (), labels: Sequence[str] = ()) -> list[Rule]:
    """The suite. `min_side` is in pixels; `max_unreadable` is the fraction of files that may be broken.

    Rules on labels and classes are left out where there are targets; where an image may have several labels, it may
    have some that no training image has together.
    """
    suite = _rules(min_side, max_unreadable)
    if labels:
        return [rule for rule in suite if rule.title != KNOWN_LABELS]
    return [rule for rule in suite if rule.title not in OF_CLASSES and rule.table != CLASSES] if targets else suite


def _rules(min_side: int, max_unreadable: float) -> list[Rule]:
    null, between, in_set = "ExpectColumnValuesToBeNull", "ExpectColumnValuesToBeBetween", "ExpectColumnValuesToBeInSet"
    used = [split.value for split in LABELLED_SPLITS]
    return [
        Rule(
            "There are images to train on, to choose on and to test on",
            IMAGES,
            "ExpectColumnDistinctValuesToContainSet",
            {"column": Column.SPLIT.value, "value_set": used},
            CRITICAL,
            "add images; 10 a class are a start",
        ),
        Rule(
            "Every file can be read",
            IMAGES,
            null,
            {"column": Column.QUARANTINE.value, "mostly": 1 - max_unreadable},
            CRITICAL,
            "replace or remove the broken files, or allow a fraction of them: validate.max_unreadable",
        ),
        Rule(
            f"Every image is at least {min_side} pixels high and wide",
            IMAGES,
            between,
            {"column": SHORT_SIDE, "min_value": min_side},
            CRITICAL,
            "remove the small images, or lower validate.min_side",
        ),
        Rule(
            KNOWN_LABELS,
            IMAGES,
            in_set,
            {"column": KNOWN, "value_set": [True]},
            CRITICAL,
            "add training images of the class, or remove its images from the other splits",
        ),
        Rule(
            "No picture is in two splits",
            IMAGES,
            between,
            {"column": SPLITS, "max_value": 1},
            CRITICAL,
            "keep each picture in one split only: the score on pictures that were trained on says nothing",
        ),
        Rule(
            "No group is in two splits",
            IMAGES,
            between,
            {"column": GROUP_SPLITS, "max_value": 1},
            CRITICAL,
            "keep the pictures of a group in one split, or give them no splits: then their group decides",
        ),
        Rule(
            ONE_LABEL,
            IMAGES,
            between,
            {"column": LABELS, "max_value": 1},
            CRITICAL,
            "decide on one label and remove the other copy",
        ),
        *(
            Rule(
                f"Every class has {split} images",
                CLASSES,
                between,
                {"column": split.value, "min_value": 1},
                severity,
                f"add {split} images of the class, or remove the class from the other splits",
            )
            for split, severity in ((Split.TRAIN, CRITICAL), (Split.TEST, CRITICAL), (Split.VALIDATION, WARNING))
        ),
    ]


def check(manifest: pd.DataFrame, suite: list[Rule]) -> list[Finding]:
    """How each rule fares on the manifest. Raises RuntimeError if a rule could not be evaluated at all."""
    tables = {IMAGES: image_table(manifest), CLASSES: class_table(manifest)}
    batches = dict(_batches(tables))
    return [_finding(rule, batches[rule.table]) for rule in suite]


def image_table(manifest: pd.DataFrame) -> pd.DataFrame:
    """The manifest with a column for each rule on images; unreadable rows have nulls, which rules pass over."""
    readable = usable(manifest)
    by_pixels = readable.groupby(Column.PIXEL_HASH)
    counts = {
        SPLITS: by_pixels[Column.SPLIT].nunique(),
        LABELS: by_pixels[Column.LABEL].nunique(),
    }
    count = {name: manifest[Column.PIXEL_HASH].map(of_hash) for name, of_hash in counts.items()}
    labelled = readable[readable[Column.SPLIT].isin(LABELLED_SPLITS)]  # of others no label is learned
    of_group = manifest[Column.GROUP].map(labelled.groupby(Column.GROUP)[Column.SPLIT].nunique())
    count[GROUP_SPLITS] = of_group.mask(manifest[Column.GROUP] == manifest[Column.PIXEL_HASH], 1)  # told already
    known = manifest[Column.LABEL].isin(class_names(readable)) | manifest[Column.LABEL].isna()
    return pd.DataFrame(
        {
            IMAGES: manifest[Column.PATH],
            Column.QUARANTINE: manifest[Column.QUARANTINE],
            Column.SPLIT: manifest[Column.SPLIT].where(manifest[Column.QUARANTINE].isna()),
            SHORT_SIDE: manifest[[Column.WIDTH, Column.HEIGHT]].min(axis=1),
            KNOWN: known.where(manifest[Column.QUARANTINE].isna()),
            **count,
            NOTE: manifest[Column.QUARANTINE].fillna(
                _twins(readable).reindex(manifest[Column.PATH]).set_axis(manifest.index)
            ),
        }
    ).astype(object)


def class_table(manifest: pd.DataFrame) -> pd.DataFrame:
    """One row a class: how many usable images it has in each labelled split."""
    counts = {split: _counts(of_split(manifest, split)) for split in LABELLED_SPLITS}
    table = pd.DataFrame(counts).fillna(0).astype(int)
    note = [", ".join(f"{count} {split}" for split, count in row.items()) for _, row in table.iterrows()]
    return table.assign(**{NOTE: note}).rename_axis(CLASSES).sort_index().reset_index()


def _counts(rows: pd.DataFrame) -> pd.Series:
    """How many rows have each label."""
    if several := label_names(rows):
        return pd.Series({name: rows[f"{HAS}{name}"].sum() for name in several})
    return rows[Column.LABEL].value_counts()


def _twins(readable: pd.DataFrame) -> pd.Series:
    """By path, for pictures that occur more than once: where the others are."""
    place = readable[Column.PATH] + " (" + readable[Column.SPLIT] + ")"
    copies = readable[readable.duplicated(Column.PIXEL_HASH, keep=False)]
    notes = {
        path: "the same picture as " + ", ".join(place[other] for other in group.index if other != row)
        for _, group in copies.groupby(Column.PIXEL_HASH)
        for row, path in group[Column.PATH].items()
    }
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
    wanted = {"result_format": "COMPLETE", "unexpected_index_column_names": [rule.table, NOTE]}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        outcome = batch.validate(expectation, result_format=wanted).to_json_dict()
    if outcome["exception_info"].get("raised_exception"):
        raise RuntimeError(f"the rule '{rule.title}' could not be evaluated: {outcome['exception_info']}")
    rows = [_name(row, rule.table) for row in outcome["result"].get("unexpected_index_list") or []]
    rows += [f"none is {value}" for value in outcome["result"].get("partial_missing_list") or []]
    return Finding(rule.title, rule.severity, bool(outcome["success"]), len(rows), tuple(rows[:EXAMPLES]), rule.remedy)


def _name(row: dict[str, Any], table: str) -> str:
    return f"{row[table]}: {row[NOTE]}" if isinstance(row[NOTE], str) else str(row[table])
