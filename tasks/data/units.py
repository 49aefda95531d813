"""Units: groups joined by near-duplicates, so that each unit is in one split."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping

Edge = tuple[str, str]


def unit_hash(text: str) -> float:
    """Returns a number in [0, 1) that depends only on the text, not on the machine or the version."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") / 2**64


def find_units(
    groups: Collection[str], edges: Iterable[Edge], past: Mapping[str, str]
) -> tuple[dict[str, str], set[str]]:
    """Returns the unit of each group, named after its first group, and the groups that are left out.

    `edges` are near-duplicates; `past` are the splits that earlier versions have. A new group is left out if near-
    duplicates join it to two splits.
    """
    links = [(a, b) for a, b in edges if a != b and not (a in past and b in past and past[a] != past[b])]
    near: dict[str, set[str]] = defaultdict(set)
    for a, b in links:
        near[a] |= {past[b]} if b in past else set()
        near[b] |= {past[a]} if a in past else set()
    left_out = {group for group, splits in near.items() if group not in past and len(splits) > 1}
    unit_of = _components(groups, [edge for edge in links if not left_out & {*edge}])
    splits: dict[str, set[str]] = defaultdict(set)
    for group, split in past.items():
        splits[unit_of[group]].add(split)
    torn = {group for group, unit in unit_of.items() if len(splits.get(unit, ())) > 1}
    left_out |= {group for group in torn if group not in past}
    return {group: group if group in torn else unit for group, unit in unit_of.items()}, left_out


def _components(groups: Collection[str], edges: Iterable[Edge]) -> dict[str, str]:
    """Returns the first group, in order, of each group's connected component."""
    parent: dict[str, str] = {group: group for group in groups}

    def root(group: str) -> str:
        while parent[group] != group:
            parent[group] = parent[parent[group]]
            group = parent[group]
        return group

    for edge in edges:
        first, second = sorted(map(root, edge))
        parent[second] = first
    return {group: root(group) for group in groups}
