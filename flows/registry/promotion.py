"""Promotion requests: a version goes live if its verdict allows it. The ledger records the answer before `live` moves.

If a release is interrupted between the two, or `live` was moved by hand, the next release resets `live` to
the version recorded in the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.registry.aliases import CHAMPION, LIVE, PRODUCTION
from flows.registry.ledger import Entry, Event, Ledger
from flows.registry.ledger_owner import claim, locked_ledger
from flows.registry.store import client
from flows.registry.tags import Tag
from flows.registry.verdict import NONE
from flows.registry.versions import find, find_number, is_there, made_at
from tasks.core.errors import RootstockError
from tasks.gate.checks import Verdict

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

UNKNOWN = "unknown"  # the original's number if a copy comes from another model


@dataclass(frozen=True)
class PromotionRequest:
    """A person's request that a version go live, and the text that identifies the request in the ledger."""

    version: str
    text: str
    copy: str | None = None  # the number of the copy in the production model


def reconcile(name: str, *, person_decides: bool, ledger_file: Path | None = None) -> list[Entry]:
    """Sets `live` to the version in the ledger, then handles each pending request. Returns the new ledger lines.

    Raises OtherLedgerError if another ledger owns the model.
    """
    with locked_ledger(name, ledger_file) as ledger:
        entries = _repair_live_alias(name, ledger)
        requests = list(_pending_requests(name, ledger))
        entries += [_answer(name, request, ledger, person_decides=person_decides) for request in requests]
        claim(name, ledger)
        return entries


def roll_back(name: str, ledger_file: Path | None = None) -> Entry:
    """Moves `live` and `champion` back to the last live version that still exists. Returns the new ledger line.

    Raises RootstockError if there is none, and OtherLedgerError if another ledger owns the model.
    """
    with locked_ledger(name, ledger_file) as ledger:
        current = ledger.live
        previous, made = next((version for version in ledger.before_live() if is_there(name, *version)), (None, None))
        if previous is None:
            raise RootstockError(
                f"cannot roll back: no earlier live version of {name} is still in the registry ({ledger.file})",
                key="nothing-to-roll-back",
            )
        _set_alias(name, CHAMPION, previous)  # first, so that the bad version is no longer requested after a crash here
        entry = ledger.add(
            Event.ROLLED_BACK, str(current), f"rollback from {current}", previous, f"back to version {previous}", made
        )
        _repair_live_alias(name, ledger)
        claim(name, ledger)
        return entry


def _pending_requests(name: str, ledger: Ledger) -> Iterator[PromotionRequest]:
    """Yields unanswered requests: copies to the production model, oldest first, then the alias `champion`.

    Copies answered before this ledger was created are skipped: their answers are in a lost or remote ledger.
    """
    copies = client().search_model_versions(f"name = '{name}{PRODUCTION}'")
    for copy in sorted(copies, key=lambda version: int(version.version)):
        text = f"copy {copy.version} in {copy.name}, made {copy.creation_timestamp}"
        answered_before = Tag.RELEASE in copy.tags and copy.creation_timestamp // 1000 <= ledger.began
        if not ledger.is_answered(text) and not answered_before:
            yield PromotionRequest(original_of(name, copy), text, str(copy.version))
    champion = find(name, CHAMPION)
    if champion and str(champion.version) != ledger.live:
        yield PromotionRequest(str(champion.version), f"alias {CHAMPION}")


def original_of(name: str, copy: ModelVersion) -> str:
    """Returns the number of the copied version of `name`; UNKNOWN if the copy comes from another model."""
    source = str(copy.source).removeprefix("models:/")
    original_name, _, number = source.rpartition("/")
    if original_name == name:
        return number
    twins = [v.version for v in client().search_model_versions(f"name = '{name}'") if v.source == copy.source]
    return str(twins[0]) if twins else UNKNOWN


def _answer(name: str, request: PromotionRequest, ledger: Ledger, *, person_decides: bool) -> Entry:
    """Releases the version, or refuses it and restores the alias. Returns the new ledger line."""
    objection = _objection(name, request.version, ledger.live, person_decides=person_decides)
    if objection:
        entry = ledger.add(Event.REFUSED, request.version, request.text, ledger.live, objection, ledger.live_made)
    else:
        made = made_at(find_number(name, request.version))
        entry = ledger.add(Event.RELEASED, request.version, request.text, request.version, f"by {request.text}", made)
    _repair_live_alias(name, ledger)
    if request.copy is None or not objection:
        _set_alias(name, CHAMPION, ledger.live)
    _tag_outcome(name, request, f"{entry['event']}: {entry['why']}")
    return entry


def _tag_outcome(name: str, request: PromotionRequest, outcome: str) -> None:
    """Tags the version, and the copy if there is one, with the outcome of the request."""
    if find_number(name, request.version):
        client().set_model_version_tag(name, request.version, Tag.RELEASE, outcome)
    if request.copy:
        client().set_model_version_tag(f"{name}{PRODUCTION}", request.copy, Tag.RELEASE, outcome)


def _objection(name: str, number: str, live: str | None, *, person_decides: bool) -> str:
    """Returns the reason why this version may not go live; empty if it may."""
    version = find_number(name, number)
    if version is None:
        return f"{name} has no such version, or it was deleted"
    if number == live:
        return ""
    tags = version.tags
    verdict, against = tags.get(Tag.VERDICT), tags.get(Tag.VERDICT_AGAINST)
    if tags.get(Tag.PROOF) != "passed":
        return "it did not reproduce its evaluated predictions at registration"
    if against != (live or NONE):
        return (
            f"its verdict was made against {_named(against)}, but {_named(live)} is live now: make run judges the "
            "newest version again; to return to an older one, use make rollback"
        )
    if verdict == Verdict.PASS or (verdict == Verdict.UNDECIDED and person_decides):
        return ""
    hint = "; set gate.person_decides to let a person decide" if verdict == Verdict.UNDECIDED else ""
    return f"the verdict is {verdict}: {tags.get(Tag.VERDICT_WHY)}{hint}"


def _named(version: str | None) -> str:
    return f"version {version}" if version and version != NONE else "no version"


def _repair_live_alias(name: str, ledger: Ledger) -> list[Entry]:
    """Sets `live` to the version in the ledger. A new ledger records the version that is already live first.

    If the live version was deleted, no version is live. Returns the new ledger line, if any.
    """
    alias = find(name, LIVE)
    if alias and not ledger.entries:
        why = "it was live before the ledger began"
        ledger.add(Event.ADOPTED, str(alias.version), "none", str(alias.version), why, made_at(alias))
    deleted = []
    if ledger.live and not is_there(name, ledger.live, ledger.live_made):
        why = "it was live and is no longer in the registry: make rollback returns to the one before"
        deleted.append(ledger.add(Event.DELETED, ledger.live, "none", None, why))
    if (str(alias.version) if alias else None) != ledger.live:
        _set_alias(name, LIVE, ledger.live)
    return deleted


def _set_alias(name: str, alias: str, version: str | None) -> None:
    """Points the alias to this version, or removes the alias if there is none."""
    if version is None:
        client().delete_registered_model_alias(name, alias)
    else:
        client().set_registered_model_alias(name, alias, version)
