"""Promotion: gives every class of three or more units test, validation and training images, whatever the hash says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from tasks.core.schema import Split

MIN_UNITS = 3  # of a class with images in all three splits
NEEDED = (Split.TEST, Split.VALIDATION, Split.TRAIN)
ALL = ""  # a class that contains every unit, so that no split of the whole set is empty


@dataclass
class Unit:
    """Images that share a split: the position of its hash in [0, 1), whether it is in no version, and its classes."""

    split: Split
    position: float
    is_new: bool
    classes: set[str]


def promote(units: Mapping[str, Unit]) -> None:
    """Moves new units to splits in which a class has none, if the class keeps one where they come from.

    A class of fewer than three units only needs training images. Units that a version has are never moved.
    """
    for unit in units.values():
        unit.classes.add(ALL)
    count = Counter((name, unit.split) for unit in units.values() for name in unit.classes)
    size = Counter(name for unit in units.values() for name in unit.classes)
    lacking = [
        (name, split)
        for name in sorted(size, key=lambda name: (name == ALL, name))
        for split in (NEEDED if size[name] >= MIN_UNITS else (Split.TRAIN,))
        if not count[name, split]
    ]
    members = _members(units, {name for name, _ in lacking})
    for name, split in lacking:
        spare = next(_spare(members[name], name, size, count), None)
        if spare and not count[name, split]:
            count.update({(each, split): 1 for each in spare.classes})
            count.subtract({(each, spare.split): 1 for each in spare.classes})
            spare.split = split


def _members(units: Mapping[str, Unit], names: set[str]) -> dict[str, list[Unit]]:
    """Returns the new units of each class, by the position of their hash."""
    members: dict[str, list[Unit]] = {name: [] for name in names}
    for unit in sorted((unit for unit in units.values() if unit.is_new), key=lambda unit: unit.position):
        for name in unit.classes & names:
            members[name].append(unit)
    return members


def _spare(members: list[Unit], name: str, size: Counter[str], count: Counter[tuple[str, Split]]) -> Iterator[Unit]:
    """Yields units whose move leaves no class without images in their split; a small class may give up its own."""
    for unit in members:
        others = {each for each in unit.classes - {ALL} if each != name or size[name] >= MIN_UNITS}
        others |= {ALL} & {name}  # the last that is looked at
        needed = {each for each in others if size[each] >= MIN_UNITS or unit.split is Split.TRAIN}
        if all(count[each, unit.split] > 1 for each in needed):
            yield unit
