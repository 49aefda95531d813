"""Promotion requests: a version goes live if its record allows it. The ledger records the answer before `live` moves.

If a release is interrupted between the two, or `live` was moved by hand, the next release resets `live` to
the version recorded in the ledger, and records that. An answer that was interrupted later is completed.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.registry.aliases import CHAMPION, LIVE
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import Entry, Event
from flows.registry.ledger_owner import claim, locked_ledger
from flows.registry.objections import adoption_objection, approve_command, objection
from flows.registry.outage import AGAIN, explained
from flows.registry.promotion_requests import (
    BY_ALIAS,
    PromotionRequest,
    at_alias,
    interrupted_request,
    is_live,
    pending_requests,
    tag_outcome,
)
from flows.registry.store import client
from flows.registry.version_files import digest_of_version
from flows.registry.version_record import LiveVersion, name_of
from flows.registry.versions import find, find_number, is_there
from tasks.core.errors import RootstockError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


def reconcile(name: str, *, person_decides: bool, ledger_file: Path | None = None) -> list[Entry]:
    """Sets `live` to the version in the ledger, then handles each pending request. Returns the new ledger lines.

    Raises OtherLedgerError if another ledger owns the model, and RootstockError if the ledger, or the version that was
    live before it, has to be looked at by a person.
    """
    with explained(AGAIN), locked_ledger(name, ledger_file) as ledger:
        if not client().search_registered_models(f"name = '{name}'"):
            return []
        entries = repair_live_alias(name, ledger, person_decides=person_decides)
        complete_interrupted(name, ledger)
        requests = list(pending_requests(name, ledger))
        entries += filter(None, [answer(name, each, ledger, person_decides=person_decides) for each in requests])
        claim(name, ledger)
        return entries


def roll_back(name: str, ledger_file: Path | None = None) -> Entry:
    """Moves `live` and `champion` back to the last live version that still exists. Returns the ledger line.

    A rollback that was killed before `live` moved is finished instead. Raises RootstockError if there is no earlier
    version, and OtherLedgerError if another ledger owns the model.
    """
    with explained(AGAIN), locked_ledger(name, ledger_file) as ledger:
        complete_interrupted(name, ledger)
        if entry := _unfinished_rollback(name, ledger):
            set_alias(name, LIVE, ledger.live)
            return entry
        current = ledger.live.number if ledger.live else "none"
        previous = next((live for live in ledger.before_live() if _is_unchanged(name, live)), None)
        if previous is None:
            raise RootstockError(
                f"cannot roll back: no earlier live version of {name} is in the registry as it was ({ledger.file})",
                key="nothing-to-roll-back",
            )
        set_alias(name, CHAMPION, previous)  # first, so that the bad version is no longer requested after a crash here
        entry = ledger.add(
            Event.ROLLED_BACK,
            current,
            f"back to version {previous.number}",
            live=previous,
            request=f"rollback from {current}",
        )
        set_alias(name, LIVE, previous)
        claim(name, ledger)
        return entry


def _unfinished_rollback(name: str, ledger: Ledger) -> Entry | None:
    """Returns the last decision if it is a rollback that `live` has not followed."""
    last, alias = ledger.last_decision, find(name, LIVE)
    is_followed = alias is not None and is_live(alias, ledger)
    return last if last and last["event"] == Event.ROLLED_BACK and not is_followed else None


def _is_unchanged(name: str, live: LiveVersion) -> bool:
    """Returns whether the registry still has this version, with the files that were recorded."""
    version = find_number(name, live.number)
    if version is None or not live.is_same(LiveVersion.of(version)):
        return False
    try:
        return live.files is None or live.files == digest_of_version(version)
    except RootstockError:  # its files are gone
        return False


def complete_interrupted(name: str, ledger: Ledger) -> None:
    """Does what is left of the ledger's last answer if it was killed after its line was written."""
    interrupted = interrupted_request(name, ledger)
    if interrupted is None:
        return
    request, entry = interrupted
    if not ledger.has_statement_since(entry):  # with one, a person may request the version again
        _restore_champion(name, request, ledger)
    tag_outcome(name, request, entry)


def answer(name: str, request: PromotionRequest, ledger: Ledger, *, person_decides: bool) -> Entry | None:
    """Releases the version, or refuses it and restores the alias. Returns the new ledger line.

    Returns None if the alias requests this version no longer: a person has moved it, or a copy was released before.
    """
    champion = at_alias(name, CHAMPION)
    version = find_number(name, request.version)
    if version is None:
        reason = f"{name} has no such version, or it was deleted"
    elif is_live(version, ledger):
        reason = ""
    else:
        reason = objection(version, ledger, person_decides=person_decides)
    is_moved = at_alias(name, CHAMPION) != champion  # the check above may take minutes
    is_over = version is not None and (champion != request.version or is_live(version, ledger))
    if request.text == BY_ALIAS and (is_moved or is_over):
        return None
    if reason or version is None:
        entry = ledger.add(Event.REFUSED, request.version, reason, live=ledger.live, request=request.text)
    else:
        live = _recorded(version, ledger)
        if not is_moved:  # first, so that an older request by alias is none any more after a crash here
            set_alias(name, CHAMPION, live)
        entry = ledger.add(Event.RELEASED, live.number, f"by {request.text}", live=live, request=request.text)
        set_alias(name, LIVE, live)
    _restore_champion(name, request, ledger)
    tag_outcome(name, request, entry)
    return entry


def _restore_champion(name: str, request: PromotionRequest, ledger: Ledger) -> None:
    """Points `champion` to what is live after a request by this alias, unless a person has moved it since."""
    if request.text == BY_ALIAS and at_alias(name, CHAMPION) in {None, request.version}:
        set_alias(name, CHAMPION, ledger.live if ledger.live and is_there(name, ledger.live) else None)


def _recorded(version: ModelVersion, ledger: Ledger) -> LiveVersion:
    """Returns the version with the digest of its files in the ledger."""
    record = ledger.record_of(str(version.version), int(version.creation_timestamp))
    return LiveVersion.of(version, record.files if record else None)


def repair_live_alias(name: str, ledger: Ledger, *, person_decides: bool) -> list[Entry]:
    """Sets `live` to the version in the ledger. Returns the new ledger lines.

    A ledger without a release adopts the version that is already live. If the live version was deleted, no version is
    live.
    """
    alias, entries = find(name, LIVE), list[Entry]()
    if alias and not ledger.releases:
        _adopt(alias, ledger, person_decides=person_decides)
    if ledger.live and not is_there(name, ledger.live):
        why = "it was live and is no longer in the registry: make rollback returns to the one before"
        entries.append(ledger.add(Event.DELETED, ledger.live.number, why, live=None))
    at, live = str(alias.version) if alias else None, ledger.live
    if at != (live.number if live else None):
        why = f"the alias {LIVE} was at {f'version {at}' if at else 'no version'}, but this ledger says {name_of(live)}"
        if not ledger.entries or ledger.entries[-1]["why"] != why:  # somebody may move it every few seconds
            entries.append(ledger.add(Event.CORRECTED, str(at or (live and live.number)), why, live=live))
        set_alias(name, LIVE, live)
    return entries


def _adopt(version: ModelVersion, ledger: Ledger, *, person_decides: bool) -> None:
    """Records that a version was live before the ledger. Raises RootstockError if its record does not allow that."""
    number = str(version.version)
    reason = adoption_objection(version, ledger, person_decides=person_decides)
    if reason:
        raise RootstockError(
            f"version {number} of {version.name} has the alias {LIVE}, but this ledger ({ledger.file}) did not release "
            f"it, and {reason}. Look at it, then remove the alias, or let it stay: {approve_command(number)}",
            key="live-unrecorded",
        )
    live = _recorded(version, ledger)
    ledger.add(Event.ADOPTED, number, "it was live before the ledger's first release", live=live)


def set_alias(name: str, alias: str, version: LiveVersion | None) -> None:
    """Points the alias to this version, or removes the alias if there is none."""
    if version is None:
        client().delete_registered_model_alias(name, alias)
    else:
        client().set_registered_model_alias(name, alias, version.number)
