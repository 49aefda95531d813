"""The ledger of releases: which version went live, when and why. It is append-only, and its lines are hash-chained."""

from __future__ import annotations

import hashlib
import json
import os
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from tasks.core.errors import RootstockError

START = "0" * 64


class Event(StrEnum):
    """The kind of event that a ledger line records."""

    ADOPTED = "found"  # the version was live before the ledger was created
    RELEASED = "released"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"
    DELETED = "deleted"  # the live version is no longer in the registry


class Entry(TypedDict):
    """A line of the ledger: the event, its version, the request (`wish`), the version live from then on, and why.

    `made` is the creation time of the live version in ms since 1970. It distinguishes versions with the same number:
    after a model is deleted, MLflow numbers its versions from 1 again.
    """

    at: str
    event: str
    version: str
    wish: str
    live: str | None
    why: str
    made: NotRequired[int | None]
    seal: str


TYPES: dict[str, tuple[type, ...]] = {  # of each key that an entry must have, and of `made`
    **dict.fromkeys(("at", "event", "version", "wish", "why", "seal"), (str,)),
    "live": (str, type(None)),
    "made": (int, type(None)),
}


def describe(entry: Entry) -> str:
    """Returns a line of the ledger as a sentence."""
    return f"version {entry['version']} {entry['event']}: {entry['why']} (live: {entry['live'] or 'none'})"


class Ledger:
    """The ledger, stored in a file. An incomplete last line, left by a crash, is removed.

    Raises RootstockError if a line is damaged, or has been changed since it was written.
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        data = file.read_bytes() if file.exists() else b""
        whole = data[: data.rfind(b"\n") + 1]
        if len(whole) < len(data):
            os.truncate(file, len(whole))
        self.entries = [_parsed(file, number, line) for number, line in enumerate(whole.split(b"\n"), 1) if line]
        before = START
        for number, entry in enumerate(self.entries, 1):
            if _seal(before, entry) != entry["seal"]:
                message = f"{file} line {number} was changed after it was written; restore the file"
                raise RootstockError(message, key="ledger-changed")
            before = entry["seal"]

    @property
    def id(self) -> str:
        """Returns an ID unique to this ledger; empty before the first line."""
        return self.entries[0]["seal"][:16] if self.entries else ""

    @property
    def began(self) -> float:
        """Returns the time when the ledger adopted a live version, in seconds since 1970; 0 if it has all releases."""
        first = self.entries[0] if self.entries else None
        return datetime.fromisoformat(first["at"]).timestamp() if first and first["event"] == Event.ADOPTED else 0.0

    @property
    def live(self) -> str | None:
        """Returns the number of the live version, taken from the ledger's last line."""
        return self.entries[-1]["live"] if self.entries else None

    @property
    def live_made(self) -> int | None:
        """Returns the creation time of the live version in ms since 1970; None if it is not recorded."""
        return self.entries[-1].get("made") if self.entries else None

    def before_live(self) -> list[tuple[str, int | None]]:
        """Returns the number and creation time of each previously live version, newest first.

        Versions that were rolled back are left out.
        """
        history: list[Entry] = []
        for entry in self.entries:
            if entry["event"] == Event.ROLLED_BACK:
                while history and history[-1]["live"] != entry["live"]:
                    history.pop()
            elif entry["live"] != (history[-1]["live"] if history else None):
                history.append(entry)
        return [(entry["live"], entry.get("made")) for entry in history[-2::-1] if entry["live"]]

    def is_answered(self, request: str) -> bool:
        """Returns whether the ledger records an answer to this request."""
        return any(entry["wish"] == request for entry in self.entries)

    def add(
        self, event: Event, version: str, request: str, live: str | None, why: str, made: int | None = None
    ) -> Entry:
        """Appends a line and flushes it to disk."""
        entry: Entry = {
            "at": datetime.now().astimezone().isoformat(timespec="seconds"),
            "event": event.value,
            "version": version,
            "wish": request,
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


def _parsed(file: Path, number: int, line: bytes) -> Entry:
    """Returns a line of the ledger. Raises RootstockError if it is none."""
    try:
        return _checked(json.loads(line.decode()))
    except (ValueError, RecursionError) as error:
        reason = f"{file} line {number} is damaged ({error}); restore the file from a backup"
        raise RootstockError(reason, key="ledger-damaged") from None


def _checked(entry: Any) -> Entry:  # noqa: ANN401 - any JSON value
    """Returns the entry. Raises ValueError if a key is missing or has a value of another type."""
    is_entry = isinstance(entry, dict) and "live" in entry
    if not (is_entry and all(isinstance(entry.get(key), kinds) for key, kinds in TYPES.items())):
        raise ValueError("it is no entry of a ledger")
    json.dumps(entry, ensure_ascii=False).encode()  # fails for half of a surrogate pair
    datetime.fromisoformat(entry["at"])
    return cast("Entry", entry)


def _seal(before: str, entry: Entry) -> str:
    content = json.dumps({**entry, "seal": before}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()
