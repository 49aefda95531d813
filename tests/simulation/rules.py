"""The rules that no history may break, and what was really stated about each version."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import Event
from tests.simulation.registry import Identity, MemoryRegistry, Version, key_of

Line = dict[str, object]


@dataclass
class Truth:
    """What was really stated about a version: files, verdict, proof, live version then, machine."""

    files: str
    verdict: str
    proved: bool
    against: Identity | None
    machine: str
    is_certain: bool = False  # whether the machine lived on after it was written
    moves: int = 0  # of `live` before it was stated


@dataclass
class Rules:
    """Checks each new line of the ledger at `ledger` against the truth."""

    ledger: Path
    registry: MemoryRegistry
    person_decides: bool
    lab_is_trusted: bool
    truths: dict[Identity, list[Truth]] = field(default_factory=dict)
    lines: list[Line] = field(default_factory=list)
    checked: bytes = b""  # the ledger, when it was last checked

    def add(self, version: Version, truth: Truth) -> Truth:
        self.truths.setdefault(key_of(version), []).append(truth)
        return truth

    def cut(self, kept: int) -> None:
        """Takes note that only the first lines of the ledger are left."""
        self.lines = self.lines[:kept]

    def check_lines(self) -> None:
        """Checks the ledger's new lines: none is lost, and each release has a good reason."""
        data = self.ledger.read_bytes() if self.ledger.exists() else b""
        if data == self.checked:
            return
        self.checked, entries = data, Ledger(self.ledger, check=False).entries
        assert entries[: len(self.lines)] == self.lines, "a line was lost or changed"
        for index in range(len(self.lines), len(entries)):
            self.check_release(entries[index], entries[:index])
        copies = [entry["wish"] for entry in entries if entry["wish"].startswith("copy ")]
        assert len(copies) == len(set(copies)), "a copy was answered twice"
        self.lines = list(entries)

    def check_release(self, entry: Line, before_it: list[Line]) -> None:
        live, was = live_of(entry), live_of(before_it[-1]) if before_it else None
        if entry["event"] == Event.RELEASED and live != was:
            assert self.is_good(live, was, moves(before_it)), f"{live} had no good record: {self.truths.get(live)}"
        elif entry["event"] == Event.ADOPTED:
            assert any(self.lets_go_live(truth) for truth in self.truths.get(live, ())), f"{live} was adopted"
        elif entry["event"] == Event.ROLLED_BACK:
            assert live in map(live_of, before_it), f"{live} was never live"
        elif entry["event"] not in {Event.RELEASED, Event.DELETED, Event.ACCEPTED}:
            assert live == was, f"{entry['event']} moved live"

    def is_good(self, version: Identity, live: Identity | None, moved: int) -> bool:
        """Returns whether a trusted machine let the version replace the live one, and home said nothing since."""
        truths = self.truths.get(version, [])
        last_here = max(
            (index for index, truth in enumerate(truths) if truth.machine == "home" and truth.is_certain), default=0
        )
        files = self.files_of(version)
        return any(
            self.lets_go_live(truth)
            and truth.against == live
            and files in {None, truth.files}
            and (truth.moves == moved or (truth.verdict != "approved" and truth.against is not None))
            for truth in truths[last_here:]
        )

    def files_of(self, version: Identity) -> str | None:
        return next((each.files for each in self.registry.all_versions() if key_of(each) == version), None)

    def lets_go_live(self, truth: Truth) -> bool:
        is_left = truth.verdict == "undecided" and self.person_decides
        is_trusted = truth.machine == "home" or self.lab_is_trusted
        return is_trusted and truth.proved and (truth.verdict in {"pass", "approved"} or is_left)


def live_of(line: Line) -> Identity | None:
    return (line["live"], line["made"]) if line["live"] else None


def moves(lines: list[Line]) -> int:
    """Returns how often `live` has moved."""
    lives = [None, *map(live_of, lines)]
    return sum(one != other for one, other in pairwise(lives))
