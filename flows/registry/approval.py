"""A person's recorded decisions: a version that goes live whatever its verdict is, and a ledger that goes on."""

from __future__ import annotations

import getpass
import os
import socket
import time
from pathlib import Path

from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import Entry, Event, LedgerError
from flows.registry.ledger_owner import OLDER, claim, held, ledger_path, locked_ledger, take_over
from flows.registry.outage import AGAIN, explained
from flows.registry.promotion import answer, complete_interrupted, repair_live_alias
from flows.registry.promotion_requests import BY_APPROVAL, PromotionRequest
from flows.registry.records import Statement, state_in
from flows.registry.verdict import NONE
from flows.registry.version_files import digest_of_version
from flows.registry.version_record import APPROVED, LiveVersion
from flows.registry.versions import find_number
from tasks.core.errors import RootstockError


def approve(
    name: str, number: str, why: str, *, person_decides: bool = False, ledger_file: Path | None = None
) -> list[Entry]:
    """Records that a person lets a version go live, and releases it. Returns the new ledger lines.

    The approval is for the version's files as they are now, and for replacing the version that is live now. Raises
    RootstockError if it cannot go live all the same.
    """
    with explained(AGAIN), locked_ledger(name, ledger_file) as ledger:
        version = find_number(name, number)
        if version is None:
            raise RootstockError(f"{name} has no version {number}", key="version-not-found")
        complete_interrupted(name, ledger)
        before, files, reason = len(ledger.entries), digest_of_version(version), _signed_by_person(why)
        state_in(ledger, version, Statement(Event.APPROVED, APPROVED, reason, ledger.live, files=files))
        repair_live_alias(name, ledger, person_decides=person_decides)
        entry = answer(name, PromotionRequest(number, BY_APPROVAL), ledger, person_decides=person_decides)
        claim(name, ledger)
        if entry and entry["event"] != Event.RELEASED:
            raise RootstockError(f"version {number} of {name} cannot go live: {entry['why']}", key="not-released")
        return ledger.entries[before:]


def accept_ledger(name: str, live: str | None, why: str, ledger_file: Path | None = None) -> Entry:
    """Records that a person goes on with the ledger, or with a new one. Returns the new ledger line.

    `live` is the number of the version that is live, or NONE; only if nothing but the model's tag in MLflow is wrong,
    the ledger says it. A ledger with bad lines or of an unknown signer is put aside, beside the new one. Raises
    RootstockError if nothing is wrong with it, or if `live` is missing.
    """
    file = ledger_file or ledger_path(name)
    problem = _problem(name, file)
    with explained(AGAIN), held(file):
        ledger, is_in_order = _salvaged(file)
        at = ledger.live if is_in_order and problem != OLDER else _live_version(name, live)
        entry = ledger.add(Event.ACCEPTED, at.number if at else NONE, _signed_by_person(why), live=at)
        take_over(name, ledger)
        return entry


def _problem(name: str, file: Path) -> str:
    """Returns the key of the error for which a person has to look at the ledger. Raises RootstockError if none has."""
    try:
        with explained(AGAIN), locked_ledger(name, file):
            pass
    except LedgerError as error:
        return error.key
    raise RootstockError(f"{file} is in order: there is nothing to accept", key="ledger-in-order")


def _salvaged(file: Path) -> tuple[Ledger, bool]:
    """Returns the ledger, and whether it is in order; one with bad lines or of an unknown signer is put aside."""
    try:
        return Ledger(file), True
    except LedgerError:
        pass
    try:
        ledger = Ledger(file, check=False)
        ledger.check_signature()
    except LedgerError:
        file.rename(file.with_name(f"{file.stem}-{time.time_ns()}.put-aside"))
        ledger = Ledger(file, check=False)
    return ledger, False


def _live_version(name: str, number: str | None) -> LiveVersion | None:
    """Returns the version that a person says is live. Raises RootstockError if it is missing."""
    if number == NONE:
        return None
    version = find_number(name, number) if number else None
    if version is None:
        raise RootstockError(
            f"say which version of {name} is live: --live and its number, or --live {NONE}", key="live-not-said"
        )
    try:
        return LiveVersion.of(version, digest_of_version(version))
    except RootstockError:  # its files are gone
        return LiveVersion.of(version)


def _signed_by_person(why: str) -> str:
    try:
        person = getpass.getuser()
    except (KeyError, OSError):  # in a container, the user may have no name
        person = str(os.getuid())
    return f"{' '.join(why.split())} ({person} on {socket.gethostname()})"
