"""Writes the labels of a multi-label image as one string. No torch, since the data tables use it as well."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LABELS_JOINED = "|"  # separates the labels of a multi-label image


def join_labels(labels: Sequence[str], selected: Iterable[bool]) -> str:
    """Returns the selected labels as one string, separated by `|`. Both arguments have length C."""
    return LABELS_JOINED.join(label for label, is_selected in zip(labels, selected, strict=True) if is_selected)
