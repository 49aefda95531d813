"""The ledger: what was judged, which version went live, when and why. It is append-only, hash-chained and signed."""

from __future__ import annotations

import json
import os
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from flows.registry import ledger_end, signing
from flows.registry.ledger_lines import (
    ACCEPT,
    BROUGHT_IN,
    NO_REQUEST,
    START,
    STATEMENTS,
    Entry,
    Event,
    LedgerError,
    parsed,
    record_in,
    seal,
)
from flows.registry.version_record import LiveVersion, VersionRecord, is_same_live


class Ledger:
    """The ledger in a file, as far as its lines are complete: a last one without an end is left by a crash.

    Raises LedgerError if a line is damaged, or has been changed since it was written; with `check`, also if it
    does not continue the ledger that this user saw last, or if nobody who is trusted signed it.
    """

    def __init__(self, file: Path, *, check: bool = True) -> None:
        self.file = file
        noted = ledger_end.noted(file) if check else None  # first: another process may add lines meanwhile
        data = file.read_bytes() if file.exists() else b""
        self._whole = data.rfind(b"\n") + 1
        lines = data[: self._whole].split(b"\n")
        self.entries = [parsed(file, number, line) for number, line in enumerate(lines, 1) if line]
        self._check_chain()
        if noted:
            ledger_end.check_continues(file, self.entries, noted)
        if check:
            self.check_signature()

    @property
    def id(self) -> str:
        """Returns an ID unique to this ledger; empty before the first line."""
        return self.entries[0]["seal"][:16] if self.entries else ""

    @property
    def live(self) -> LiveVersion | None:
        """Returns the live version, taken from the ledger's last line."""
        return _live_in(self.entries[-1]) if self.entries else None

    @property
    def releases(self) -> list[Entry]:
        """Returns the lines that decide about `live`, without the statements about versions."""
        return [entry for entry in self.entries if entry["event"] not in STATEMENTS]

    @property
    def began(self) -> float:
        """Returns the time since which the ledger is complete, in seconds since 1970; 0 if it has all releases.

        Before it adopted a version that was live, or a person accepted it, lines may be missing.
        """
        late = [entry for entry in self.releases if entry["event"] in {Event.ADOPTED, Event.ACCEPTED}]
        return datetime.fromisoformat(late[-1]["at"]).timestamp() if late else 0.0

    def before_live(self) -> list[LiveVersion]:
        """Returns each previously live version, newest first. Versions that were rolled back are left out."""
        history: list[LiveVersion | None] = []
        for entry in self.entries:
            live = _live_in(entry)
            if entry["event"] == Event.ROLLED_BACK:
                while history and not is_same_live(history[-1], live):
                    history.pop()
            elif not is_same_live(history[-1] if history else None, live):
                history.append(live)
        return [live for live in history[-2::-1] if live]

    @property
    def last_decision(self) -> Entry | None:
        """Returns the last line that decides about a version; corrections of `live` only repeat it."""
        return next((entry for entry in reversed(self.releases) if entry["event"] != Event.CORRECTED), None)

    def has_statement_since(self, answer: Entry) -> bool:
        """Returns whether something was stated about the answer's version after it."""
        since = self.entries[self.entries.index(answer) + 1 :]
        return any(entry["event"] in STATEMENTS and entry["version"] == answer["version"] for entry in since)

    def is_answered(self, request: str) -> bool:
        """Returns whether the ledger records an answer to this request."""
        return any(entry["wish"] == request for entry in self.entries)

    def record_of(self, number: str, made: int | None) -> VersionRecord | None:
        """Returns the record about a version that counts."""
        records = [record for entry in self.entries if entry["version"] == number and (record := record_in(entry))]
        return max((each for each in records if each.made == made), key=lambda each: each.sequence, default=None)

    def moved_since(self, record: VersionRecord) -> bool:
        """Returns whether `live` has moved, or a person has accepted the ledger, since the record became a line.

        If it is none, or only since a release brought it in, the lines written since the time of the record count,
        which whoever signed it has set.
        """
        start = self._line_of(record)
        lives = [_live_in(self.entries[start]) if start >= 0 else None]
        lives += [_live_in(entry) for entry in self.entries[start + 1 :]]
        is_accepted = any(entry["event"] == Event.ACCEPTED for entry in self.entries[start + 1 :])
        return is_accepted or any(not is_same_live(one, other) for one, other in pairwise(lives))

    def has_line(self, seal: str) -> bool:
        """Returns whether a line's seal begins like this."""
        return any(entry["seal"].startswith(seal) for entry in self.entries)

    def _line_of(self, record: VersionRecord) -> int:
        """Returns the index of the record's line, or else of the last line before its time; -1 if there is none."""
        own, at = record.model_dump(), datetime.fromisoformat(record.at)
        for index, entry in enumerate(self.entries):
            if entry.get("record") == own and entry["wish"] != BROUGHT_IN:
                return index
        earlier = [index for index, entry in enumerate(self.entries) if datetime.fromisoformat(entry["at"]) < at]
        return max(earlier, default=-1)

    def state(self, event: Event, record: VersionRecord, request: str = NO_REQUEST) -> Entry:
        """Appends a statement about a version."""
        return self.add(event, record.number, record.why, live=self.live, request=request, record=record)

    def add(
        self,
        event: Event,
        version: str,
        why: str,
        *,
        live: LiveVersion | None,
        request: str = NO_REQUEST,
        record: VersionRecord | None = None,
    ) -> Entry:
        """Appends a signed line and flushes it to disk."""
        entry: Entry = {
            "at": datetime.now().astimezone().isoformat(timespec="seconds"),
            "event": event.value,
            "version": version,
            "wish": request,
            "live": live.number if live else None,
            "why": why,
            "made": live.made if live else None,
            "files": live.files if live else None,
            "record": record.model_dump() if record else None,
            "key": signing.public_key(),
            "seal": "",
        }
        entry["seal"] = seal(self.entries[-1]["seal"] if self.entries else START, entry)
        entry["signature"] = signing.sign(entry["seal"])
        self._append(json.dumps(entry, ensure_ascii=False) + "\n")
        self.entries.append(entry)
        ledger_end.remember(self.file, self.entries)
        return entry

    def _append(self, line: str) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("ab") as file:
            if file.tell() > self._whole:
                file.truncate(self._whole)
            file.write(line.encode())
            file.flush()
            os.fsync(file.fileno())
            self._whole = file.tell()

    def _check_chain(self) -> None:
        before = START
        for number, entry in enumerate(self.entries, 1):
            if seal(before, entry) != entry["seal"]:
                raise LedgerError(
                    f"{self.file} line {number} was changed after it was written; restore the file from a backup, or "
                    f"start a new one with {ACCEPT}",
                    key="ledger-changed",
                )
            before = entry["seal"]

    def check_signature(self) -> None:
        """Checks the last line: it seals those before, which whoever signed it has checked."""
        if not any("signature" in entry for entry in self.entries):
            return  # an earlier release of Rootstock wrote it
        last = self.entries[-1]
        key = last.get("key") or "none"
        if not signing.is_signed(last["seal"], key, last.get("signature") or ""):
            problem = "is not signed"
        elif not signing.is_trusted(key):
            problem = f"is signed by the key {key}, which is neither this machine's nor in {signing.TRUSTED}"
        else:
            return
        raise LedgerError(
            f"{self.file} line {len(self.entries)} {problem}, so nothing is released; restore the file or list the key,"
            f" or look at which version is live and go on with {ACCEPT}",
            key="ledger-not-signed",
        )


def _live_in(entry: Entry) -> LiveVersion | None:
    """Returns the live version that a line records."""
    if entry["live"] is None:
        return None
    return LiveVersion(number=entry["live"], made=entry.get("made"), files=entry.get("files"))
