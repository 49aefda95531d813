"""Draws the images on which options are compared: by a hash of their pixels, balanced over the classes."""

from __future__ import annotations

import pandas as pd

from tasks.core.schema import HAS, Column, Split
from tasks.data.manifest import of_split
from tasks.data.units import unit_hash

CLASS_SIZE = 5  # images that a class should have in a sample; with more classes than fit, some are left out


def labeled(manifest: pd.DataFrame) -> pd.DataFrame:
    """Returns the usable images of train and validation, on which alone a backbone may be chosen."""
    return pd.concat([of_split(manifest, split) for split in (Split.TRAIN, Split.VALIDATION)], ignore_index=True)


def sample(rows: pd.DataFrame, count: int) -> pd.DataFrame:
    """Returns at most `count` rows. A larger sample contains the smaller ones if its classes are the same."""
    is_multilabel = any(str(name).startswith(HAS) for name in rows)  # most combinations of labels are rare
    label = rows[Column.LABEL].fillna("").astype(str).map(lambda name: "" if is_multilabel else name)
    names = sorted(label.unique(), key=lambda name: unit_hash(f"choose:{name}"))
    kept = rows[label.isin(names[: max(count // CLASS_SIZE, 2)])]
    order = kept[Column.PIXEL_HASH].map(lambda pixels: unit_hash(f"choose:{pixels}"))
    turn = order.groupby(label[kept.index]).rank(method="first")
    place = pd.DataFrame({"turn": turn, "order": order}).sort_values(["turn", "order"]).index[:count]
    return kept.loc[sorted(place)].reset_index(drop=True)
