"""A person's recorded decisions: a version that goes live whatever its verdict is, and a ledger that goes on."""

from __future__ import annotations

import getpass
import socket
import time
from contextlib import suppress
from pathlib import Path

from flows.registry import ledger_end
from flows.registry.aliases import CHAMPION, LIVE
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import Entry, Event, LedgerError
from flows.registry.ledger_owner import held, ledger_path, locked_ledger, take_over
from flows.registry.promotion import answer_requests, set_alias
from flows.registry.records import Statement, state_in
from flows.registry.version_files import digest_of_version
from flows.registry.version_record import APPROVED, LiveVersion
from flows.registry.versions import find, find_number
from tasks.core.errors import RootstockError


def approve(name: str, number: str, why: str, ledger_file: Path | None = None) -> list[Entry]:
    """Records that a person lets a version go live, and releases it. Returns the new ledger lines.

    The approval is for the version's files as they are now, and for replacing the version that is live now.
    """
    version = find_number(name, number)
    if version is None:
        raise RootstockError(f"{name} has no version {number}", key="version-not-found")
    with locked_ledger(name, ledger_file) as ledger:
        before = len(ledger.entries)
        files, reason = digest_of_version(version), _signed_by_person(why)
        state_in(ledger, version, Statement(Event.APPROVED, APPROVED, reason, ledger.live, files=files))
        set_alias(name, CHAMPION, LiveVersion(number=number))
        answer_requests(name, ledger, person_decides=False)
        return ledger.entries[before:]


def accept_ledger(name: str, why: str, ledger_file: Path | None = None) -> Entry:
    """Records that a person goes on with the ledger as it is, or starts a new one, with what has the alias `live` now.

    A ledger whose lines are damaged or changed is put aside, beside the new one. Raises RootstockError if nothing is
    wrong with it.
    """
    file = ledger_file or ledger_path(name)
    with suppress(LedgerError), locked_ledger(name, file):
        raise RootstockError(f"{file} is in order: there is nothing to accept", key="ledger-in-order")
    with held(file):
        ledger, version = _salvaged(file), find(name, LIVE)
        live = None
        if version:
            number, made = str(version.version), int(version.creation_timestamp)
            live = LiveVersion(number=number, made=made, files=digest_of_version(version))
        ledger_end.forget(file)
        entry = ledger.add(Event.ACCEPTED, live.number if live else "none", _signed_by_person(why), live=live)
        take_over(name, ledger)
        return entry


def _salvaged(file: Path) -> Ledger:
    """Returns the ledger, without the check that it is the one seen last; one with bad lines is put aside."""
    try:
        return Ledger(file, check=False)
    except LedgerError:
        file.rename(file.with_name(f"{file.stem}-{time.strftime('%Y%m%d-%H%M%S')}.put-aside"))
        return Ledger(file, check=False)


def _signed_by_person(why: str) -> str:
    return f"{' '.join(why.split())} ({getpass.getuser()} on {socket.gethostname()})"
