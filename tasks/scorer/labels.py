"""Several labels of one image, written as one text. No torch: the tables of the data use it too."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

LABELS_JOINED = "|"  # stands between the labels of an image that may have several


def joined(labels: Sequence[str], given: Iterable[bool]) -> str:
    """Returns the labels that are given, as one text."""
    return LABELS_JOINED.join(name for name, is_given in zip(labels, given, strict=True) if is_given)
