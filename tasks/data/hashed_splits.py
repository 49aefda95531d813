"""Splits for a source without splits: those of earlier versions, then a stable hash, then promotion of small classes.

A unit is what shares a split: a group of the source, or the copies of one picture, with its near-duplicates.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from tasks.core.schema import HAS, LABELED_SPLITS, TARGET, Column, Split
from tasks.data.promotion import Unit, promote
from tasks.data.units import find_units, unit_hash

TWO_SPLITS = "near-duplicates of it are in two splits"
OTHER_SPLIT = "earlier versions have other images of its group in another split"
NO_TRAINING = "its class has no training images"


class Assignment(NamedTuple):
    """Each row's split, its group, and the reason why it is left out, if it is; indexed as the rows."""

    split: pd.Series
    group: pd.Series
    left_out: pd.Series


def assign(
    rows: pd.DataFrame, memory: Mapping[str, str], pairs: Iterable[tuple[int, int]], validation: float, test: float
) -> Assignment:
    """Assigns labeled, readable rows to splits. `memory` is the split of each pixel hash in earlier versions.

    An image of an earlier version keeps its split. `pairs` are positions of near-duplicates; `validation` and `test`
    are the fractions of the units in these splits.
    """
    past = rows[Column.PIXEL_HASH].map(memory).astype(object)
    past = past.where(past.isin(LABELED_SPLITS), None)
    left_out = _in_other_split(rows[Column.GROUP], past)
    past = past.where(left_out.isna(), None)
    past_of = dict(zip(rows[Column.GROUP][past.notna()], past[past.notna()], strict=True))
    group = rows[Column.GROUP].to_numpy(object)
    unit_of, torn = find_units(set(group), [(group[a], group[b]) for a, b in pairs], past_of)
    left_out = left_out.mask(rows[Column.GROUP].isin(torn) & left_out.isna(), TWO_SPLITS)
    inside = left_out.isna()
    unit = rows[Column.GROUP].map(unit_of).where(inside, rows[Column.GROUP])
    units = _units(unit[inside], past[inside], _classes(rows[inside]), validation, test)
    promote(units)
    split = unit.map({name: each.split for name, each in units.items()}).fillna(Split.TRAIN)
    left_out = left_out.mask(_without_training(rows, split.where(inside)) & inside, NO_TRAINING)
    return Assignment(split, unit, left_out)


def by_hash(group: str, validation: float, test: float) -> Split:
    """Returns the split of a group that no version has."""
    position = unit_hash(f"split:{group}")
    if position < test:
        return Split.TEST
    return Split.VALIDATION if position < test + validation else Split.TRAIN


def _in_other_split(group: pd.Series, past: pd.Series) -> pd.Series:
    """Returns a reason for rows that earlier versions have in another split than most images of their group."""
    counts = pd.crosstab(group, past.fillna("")).reindex(columns=list(LABELED_SPLITS), fill_value=0)
    torn = counts[(counts > 0).sum(axis=1) > 1]
    kept = group.map(torn.idxmax(axis=1) if len(torn) else {})
    moved = kept.notna() & past.notna() & (past != kept)
    return moved.map({True: OTHER_SPLIT, False: None}).astype(object)


def _units(
    unit: pd.Series, past: pd.Series, classes: Sequence[frozenset[str]], validation: float, test: float
) -> dict[str, Unit]:
    units: dict[str, Unit] = {}
    for name, before, names in zip(unit, past, classes, strict=True):
        if name not in units:
            units[name] = Unit(by_hash(name, validation, test), unit_hash(f"split:{name}"), True, set())
        units[name].classes.update(names)
        if before is not None:
            units[name].split, units[name].is_new = Split(before), False
    return units


def _classes(rows: pd.DataFrame) -> list[frozenset[str]]:
    """Returns the classes of each row: its label, its labels if there are several, none in regression."""
    labels = [name for name in rows if str(name).startswith(HAS)]
    if labels:
        has = rows[labels].to_numpy(float) > 0.5
        return [frozenset(np.array(labels)[row]) for row in has]
    if any(str(name).startswith(TARGET) for name in rows):
        return [frozenset()] * len(rows)
    return [frozenset([label]) for label in rows[Column.LABEL]]


def _without_training(rows: pd.DataFrame, split: pd.Series) -> pd.Series:
    """Returns whether each row has a label that no training row has, (N,) bool; only for one label per image."""
    if any(str(name).startswith((HAS, TARGET)) for name in rows):
        return pd.Series(False, rows.index)
    return ~rows[Column.LABEL].isin(rows[Column.LABEL][split == Split.TRAIN])
