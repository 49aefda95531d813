"""Promotion requests: copies made with the button Promote model, and versions that a person gave the alias champion."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from flows.registry.aliases import CHAMPION, PRODUCTION
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import NO_REQUEST, Entry, Event
from flows.registry.store import client
from flows.registry.tags import MAX_TAG_LENGTH, Tag
from flows.registry.version_record import LiveVersion
from flows.registry.versions import find, find_number

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

CLOCKS = 1.0  # seconds by which a time in the ledger, which has no fractions, may be too early
UNKNOWN = "unknown"  # the original's number if a copy comes from another model
BY_ALIAS = f"alias {CHAMPION}"
BY_APPROVAL = "approval"  # not of the button or the alias: make approve


@dataclass(frozen=True)
class PromotionRequest:
    """A person's request that a version go live, and the text that identifies the request in the ledger."""

    version: str
    text: str
    copy: str | None = None  # the number of the copy in the production model


def pending_requests(name: str, ledger: Ledger) -> Iterator[PromotionRequest]:
    """Yields unanswered requests: copies to the production model, oldest first, then the alias `champion`.

    Copies answered before this ledger was created are skipped: their answers are in a lost or remote ledger.
    """
    for copy in sorted(_copies(name), key=lambda version: int(version.version)):
        answered_before = Tag.RELEASE in copy.tags and copy.creation_timestamp // 1000 <= ledger.began
        if not ledger.is_answered(_text_of(copy)) and not answered_before:
            yield PromotionRequest(original_of(name, copy), _text_of(copy), str(copy.version))
    champion = find(name, CHAMPION)
    if champion and not is_live(champion, ledger):
        yield PromotionRequest(str(champion.version), BY_ALIAS)


def interrupted_request(name: str, ledger: Ledger) -> tuple[PromotionRequest, Entry] | None:
    """Returns the request that the ledger answered last, if its tag does not say so: the answer was killed before."""
    entry = ledger.last_decision
    if entry is None or entry["wish"] == NO_REQUEST:
        return None
    copy = next((each for each in _copies(name) if _text_of(each) == entry["wish"]), None)
    if copy is None and entry["wish"] not in {BY_ALIAS, BY_APPROVAL}:
        return None
    version = find_number(name, entry["version"])
    tagged = copy or version
    if version and not _is_about(entry, version):
        return None
    if tagged is None or tagged.tags.get(Tag.RELEASE) == _outcome(entry):
        return None
    return PromotionRequest(entry["version"], entry["wish"], str(copy.version) if copy else None), entry


def _is_about(entry: Entry, version: ModelVersion) -> bool:
    """Returns whether the answer is about this version, not an earlier one with its number."""
    if entry["event"] == Event.RELEASED:
        return entry.get("made") == version.creation_timestamp
    return version.creation_timestamp / 1000 < datetime.fromisoformat(entry["at"]).timestamp() + CLOCKS


def original_of(name: str, copy: ModelVersion) -> str:
    """Returns the number of the copied version of `name`; UNKNOWN if the copy comes from another model."""
    source = str(copy.source).removeprefix("models:/")
    original_name, _, number = source.rpartition("/")
    if original_name == name:
        return number
    twins = [v.version for v in client().search_model_versions(f"name = '{name}'") if v.source == copy.source]
    return str(twins[0]) if twins else UNKNOWN


def tag_outcome(name: str, request: PromotionRequest, entry: Entry) -> None:
    """Tags the version, and then the copy if there is one, with the outcome of the request."""
    if find_number(name, request.version):
        client().set_model_version_tag(name, request.version, Tag.RELEASE, _outcome(entry))
    if request.copy:
        client().set_model_version_tag(f"{name}{PRODUCTION}", request.copy, Tag.RELEASE, _outcome(entry))


def at_alias(name: str, alias: str) -> str | None:
    """Returns the number of the version at an alias; None if there is none."""
    version = find(name, alias)
    return str(version.version) if version else None


def is_live(version: ModelVersion, ledger: Ledger) -> bool:
    """Returns whether the ledger says that this version is live."""
    return ledger.live is not None and ledger.live.is_same(LiveVersion.of(version))


def _copies(name: str) -> list[ModelVersion]:
    return list(client().search_model_versions(f"name = '{name}{PRODUCTION}'"))


def _text_of(copy: ModelVersion) -> str:
    return f"copy {copy.version} in {copy.name}, made {copy.creation_timestamp}"


def _outcome(entry: Entry) -> str:
    return f"{entry['event']}: {entry['why']}"[:MAX_TAG_LENGTH]
