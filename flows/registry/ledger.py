"""The ledger of releases: what was live since when, and why. Lines are only added, each sealed by the one before."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import NotRequired, TypedDict

from tasks.core.errors import RootstockError

START = "0" * 64


class Event(StrEnum):
    """What may happen to `live`."""

    FOUND = "found"  # live before the ledger began
    RELEASED = "released"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"
    DELETED = "deleted"  # live, and gone from the registry


class Entry(TypedDict):
    """One line: what happened, to which version, by whose wish, what has been live since, and why.

    `made` is when the live version was made, in ms since 1970: MLflow counts from 1 again where a model was deleted.
    """

    at: str
    event: str
    version: str
    wish: str
    live: str | None
    why: str
    made: NotRequired[int | None]
    seal: str


class Ledger:
    """The lines of a file; one that was cut off while it was written counts as never written.

    Raises RootstockError if a line was changed after it was written.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        data = file.read_bytes() if file.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(file, len(whole))
        try:
            self.entries: list[Entry] = [json.loads(line) for line in whole.decode().split("\n") if line]
        except ValueError as error:
            raise RootstockError(f"{file} is damaged ({error}); restore the file") from None
        before = START
        for number, entry in enumerate(self.entries, 1):
            if _seal(before, entry) != entry["seal"]:
                raise RootstockError(f"{file} line {number} was changed after it was written; restore the file")
            before = entry["seal"]

    @property
    def id(self) -> str:
        """What no other ledger has; empty before the first line."""
        return self.entries[0]["seal"][:16] if self.entries else ""

    @property
    def began(self) -> float:
        """When it began with what was live already, in seconds since 1970; 0 if it knows all from the start."""
        first = self.entries[0] if self.entries else None
        return datetime.fromisoformat(first["at"]).timestamp() if first and first["event"] == Event.FOUND else 0.0

    @property
    def live(self) -> str | None:
        """The version that is live by the last line."""
        return self.entries[-1]["live"] if self.entries else None

    @property
    def made(self) -> int | None:
        """When that one was made; None if the ledger does not say."""
        return self.entries[-1].get("made") if self.entries else None

    def before_live(self) -> list[tuple[str, int | None]]:
        """The versions that were live before, the last first, and when they were made.

        Those that were rolled back from do not count.
        """
        been: list[Entry] = []
        for entry in self.entries:
            if entry["event"] == Event.ROLLED_BACK:
                while been and been[-1]["live"] != entry["live"]:
                    been.pop()
            elif entry["live"] != (been[-1]["live"] if been else None):
                been.append(entry)
        return [(entry["live"], entry.get("made")) for entry in been[-2::-1] if entry["live"]]

    def handled(self, wish: str) -> bool:
        """Whether this wish has its answer."""
        return any(entry["wish"] == wish for entry in self.entries)

    def add(self, event: Event, version: str, wish: str, live: str | None, why: str, made: int | None = None) -> Entry:
        """Writes a line, and sees it onto the disk."""
        entry: Entry = {
            "at": datetime.now().astimezone().isoformat(timespec="seconds"),
            "event": event.value,
            "version": version,
            "wish": wish,
            "live": live,
            "why": why,
            "made": made,
            "seal": "",
        }
        entry["seal"] = _seal(self.entries[-1]["seal"] if self.entries else START, entry)
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(entry, ensure_ascii=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        self.entries.append(entry)
        return entry


def _seal(before: str, entry: Entry) -> str:
    content = json.dumps({**entry, "seal": before}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()
