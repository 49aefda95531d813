"""The lines of a ledger: JSON, each sealed by a hash of itself and of the line before, and signed."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast

from flows.registry.version_record import VersionRecord, as_record
from tasks.core.errors import RootstockError

START = "0" * 64
NO_REQUEST = "none"
BROUGHT_IN = "none, from the run"  # in place of a request: another machine made this statement before
ACCEPT = "make approve ARGS='--ledger --live 3 --why \"...\"'"  # the command of a person who goes on with it


class LedgerError(RootstockError):
    """A ledger that a person has to look at before anything is released."""


class Event(StrEnum):
    """The kind of event that a ledger line records."""

    REGISTERED = "registered"  # the version reproduced its evaluated predictions
    JUDGED = "judged"
    APPROVED = "approved"  # a person lets the version go live whatever its verdict is
    ADOPTED = "found"  # the version was live before the ledger was created
    RELEASED = "released"
    REFUSED = "refused"
    ROLLED_BACK = "rolled back"
    DELETED = "deleted"  # the live version is no longer in the registry
    CORRECTED = "corrected"  # the alias `live` pointed to another version than the ledger
    ACCEPTED = "accepted"  # a person has looked at the ledger and goes on with it


STATEMENTS = {Event.REGISTERED, Event.JUDGED, Event.APPROVED}  # they say something about a version, and release nothing


class Entry(TypedDict):
    """A line of the ledger: the event, its version, the request (`wish`), the version live from then on, and why.

    `made` and `files` are of the live version; `record` is of the event's version. Lines of earlier releases of
    Rootstock have neither files, record nor signature.
    """

    at: str
    event: str
    version: str
    wish: str
    live: str | None
    why: str
    made: NotRequired[int | None]
    files: NotRequired[str | None]
    record: NotRequired[dict[str, Any] | None]
    key: NotRequired[str]
    seal: str
    signature: NotRequired[str]


TEXT, TEXT_OR_NONE = (str,), (str, type(None))
TYPES: dict[str, tuple[type, ...]] = {  # of each key that an entry must have, and of those that it may have
    **dict.fromkeys(("at", "event", "version", "wish", "why", "seal"), TEXT),
    **dict.fromkeys(("live", "files", "key", "signature"), TEXT_OR_NONE),
    "made": (int, type(None)),
    "record": (dict, type(None)),
}


def describe(entry: Entry) -> str:
    """Returns a line of the ledger as a sentence."""
    return f"version {entry['version']} {entry['event']}: {entry['why']} (live: {entry['live'] or 'none'})"


def record_in(entry: Entry) -> VersionRecord | None:
    """Returns the record in a line, if it has one."""
    value = entry.get("record")
    return as_record(value) if value else None


def parsed(file: Path, number: int, line: bytes) -> Entry:
    """Returns a line of the ledger. Raises LedgerError if it is none."""
    try:
        return _checked(json.loads(line.decode()))
    except (ValueError, RecursionError) as error:
        reason = str(error).splitlines()[0]
        raise LedgerError(
            f"{file} line {number} is damaged ({reason}); restore the file from a backup, or start a new one with "
            f"{ACCEPT}",
            key="ledger-damaged",
        ) from None


def _checked(entry: Any) -> Entry:  # noqa: ANN401 - any JSON value
    """Returns the entry. Raises ValueError if a key is missing or has a value of another type."""
    is_entry = isinstance(entry, dict) and "live" in entry
    if not (is_entry and all(isinstance(entry.get(key), kinds) for key, kinds in TYPES.items())):
        raise ValueError("it is no entry of a ledger")
    json.dumps(entry, ensure_ascii=False).encode()  # fails for half of a surrogate pair
    datetime.fromisoformat(entry["at"])
    if record_in(cast("Entry", entry)) and "signature" not in entry:
        raise ValueError("its record is not signed")
    return cast("Entry", entry)


def seal(before: str, entry: Entry) -> str:
    """Returns the SHA-256 that seals a line: of its content but the signature, and of the seal before."""
    content = {name: value for name, value in entry.items() if name != "signature"}
    text = json.dumps({**content, "seal": before}, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
