"""Release: a person's wish becomes the live model, if the gate's verdict allows it. Run every minute, and by hand.

A person wishes for a version by setting the alias `champion`, or with MLflow's button "Promote model", which copies
the version to the registered model <name>-production. `live` is written here alone, after the ledger: if a release is
cut off between the two, or `live` was moved by hand, the next one puts `live` where the ledger says.
"""

from __future__ import annotations

import hashlib
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock
from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.config import parameters
from flows.local.environment import LOCAL_DATABASE, REGISTRY
from flows.local.logs import plain_errors
from flows.registry.ledger import Entry, Event, Ledger
from flows.registry.runs import Tag
from flows.registry.store import client
from flows.registry.verdict import NONE
from flows.registry.versions import CHAMPION, LIVE, PRODUCTION, find, is_there, made_at
from tasks.core.errors import RootstockError
from tasks.gate.checks import Verdict

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

LOCK_SECONDS = 60.0
OWN = "own"  # the registry of this checkout, wherever that is moved to
UNKNOWN = "unknown"  # the version that a copy from elsewhere was made from


class OtherLedgerError(RootstockError):
    """The model's releases are written elsewhere."""


@dataclass(frozen=True)
class Wish:
    """A version that a person wants to be live, and how that was said."""

    version: str
    said: str
    copy: str | None = None  # the number of the copy in the production model


@flow(name="release")
def release() -> str:
    """Answers the wishes that have no answer yet. What became of them, a line each."""
    plain_errors()
    params = parameters.load()
    log = get_run_logger()
    try:
        entries = reconcile(params.register_.model, person_decides=params.gate.person_decides)
    except OtherLedgerError as error:  # of another checkout, which answers
        log.info(str(error))
        return str(error)
    for entry in entries:
        log.info(told(entry))
    if entries:
        text = "\n\n".join(told(entry) for entry in entries)
        create_markdown_artifact(text, key="release-result", description="What became of promotions")
    return "\n".join(map(told, entries)) or "nothing to release: no one asked for another version"


@flow(name="rollback")
def rollback() -> str:
    """Makes the version live again that was live before. Raises RootstockError if there was none."""
    plain_errors()
    return told(roll_back(parameters.load().register_.model))


def told(entry: Entry) -> str:
    """A line of the ledger in words."""
    return f"version {entry['version']} {entry['event']}: {entry['why']} (live: {entry['live'] or 'none'})"


def ledger_of(name: str) -> Path:
    """The ledger of this model in this registry: what is true of another must not decide here."""
    uri = os.environ["MLFLOW_TRACKING_URI"]
    file = REGISTRY / "ledger" / f"{name}-{hashlib.sha256(uri.encode()).hexdigest()[:8]}.jsonl"
    return file if uri != LOCAL_DATABASE else file.with_name(f"{name}-{OWN}.jsonl")


def _ledger(name: str, file: Path) -> Ledger:
    """The model's ledger. Raises OtherLedgerError if another one is: two would undo each other's releases."""
    models = client().search_registered_models(f"name = '{name}'")
    owner, _, place = next((model.tags.get(Tag.LEDGER, "") for model in models), "").partition(" ")
    ledger = Ledger(file)
    if owner not in {"", ledger.id}:
        raise OtherLedgerError(
            f"releases of {name} are written in {place}, not in {file}: release and roll back there, or take over: "
            f"remove the tag {Tag.LEDGER} of the registered model in MLflow"
        )
    return ledger


def _claim(name: str, ledger: Ledger) -> None:
    """Tells other checkouts whose releases are written where."""
    models = client().search_registered_models(f"name = '{name}'")
    if ledger.entries and models and Tag.LEDGER not in models[0].tags:
        place = f"{socket.gethostname()}:{ledger.file.resolve()}"
        client().set_registered_model_tag(name, Tag.LEDGER, f"{ledger.id} {place}")


def reconcile(name: str, *, person_decides: bool, ledger_file: Path | None = None) -> list[Entry]:
    """Makes `live` what the ledger says, then answers each new wish; the new lines of the ledger."""
    ledger_file = ledger_file or ledger_of(name)
    ledger_file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(ledger_file.with_suffix(".lock"), timeout=LOCK_SECONDS):
        ledger = _ledger(name, ledger_file)
        entries = _settle(name, ledger)
        entries += [_answer(name, wish, ledger, person_decides=person_decides) for wish in list(_wishes(name, ledger))]
        _claim(name, ledger)
        return entries


def roll_back(name: str, ledger_file: Path | None = None) -> Entry:
    """Puts `live`, and the person's wish with it, back to the version before. Raises RootstockError if none was."""
    ledger_file = ledger_file or ledger_of(name)
    ledger_file.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(ledger_file.with_suffix(".lock"), timeout=LOCK_SECONDS):
        ledger = _ledger(name, ledger_file)
        now = ledger.live
        before, made = next((of for of in ledger.before_live() if is_there(name, *of)), (None, None))
        if before is None:
            raise RootstockError(
                f"there is nothing to go back to: {LIVE} has had no other version that is still there ({ledger_file})"
            )
        _point(name, CHAMPION, before)  # first: cut off here, nobody wishes for the bad version any more
        entry = ledger.add(
            Event.ROLLED_BACK, str(now), f"rollback from {now}", before, f"back to version {before}", made
        )
        _settle(name, ledger)
        _claim(name, ledger)
        return entry


def _wishes(name: str, ledger: Ledger) -> Iterator[Wish]:
    """What people want and have no answer to: copies to the production model, oldest first, then the alias.

    Copies that had their answer before this ledger began are in another one, which was lost or is elsewhere.
    """
    copies = client().search_model_versions(f"name = '{name}{PRODUCTION}'")
    for copy in sorted(copies, key=lambda version: int(version.version)):
        wish = f"copy {copy.version} in {copy.name}, made {copy.creation_timestamp}"
        answered_before = Tag.RELEASE in copy.tags and copy.creation_timestamp // 1000 <= ledger.began
        if not ledger.handled(wish) and not answered_before:
            yield Wish(_copied_from(name, copy), wish, str(copy.version))
    champion = find(name, CHAMPION)
    if champion and str(champion.version) != ledger.live:
        yield Wish(str(champion.version), f"alias {CHAMPION}")


def _copied_from(name: str, copy: ModelVersion) -> str:
    """The number of the version of `name` that a copy was made from; UNKNOWN if it came from elsewhere."""
    source = str(copy.source).removeprefix("models:/")
    of_name, _, number = source.rpartition("/")
    if of_name == name:
        return number
    twins = [v.version for v in client().search_model_versions(f"name = '{name}'") if v.source == copy.source]
    return str(twins[0]) if twins else UNKNOWN


def _answer(name: str, wish: Wish, ledger: Ledger, *, person_decides: bool) -> Entry:
    """Releases the version, or refuses it and puts the alias back."""
    why_not = _objection(name, wish.version, ledger.live, person_decides=person_decides)
    if why_not:
        entry = ledger.add(Event.REFUSED, wish.version, wish.said, ledger.live, why_not, ledger.made)
    else:
        made = made_at(find(name, wish.version))
        entry = ledger.add(Event.RELEASED, wish.version, wish.said, wish.version, f"by {wish.said}", made)
    _settle(name, ledger)
    if wish.copy is None or not why_not:
        _point(name, CHAMPION, ledger.live)
    _tell(name, wish, f"{entry['event']}: {entry['why']}")
    return entry


def _tell(name: str, wish: Wish, what: str) -> None:
    """Puts what became of a wish where the person looks: on the version, and on the copy."""
    if find(name, wish.version):
        client().set_model_version_tag(name, wish.version, Tag.RELEASE, what)
    if wish.copy:
        client().set_model_version_tag(f"{name}{PRODUCTION}", wish.copy, Tag.RELEASE, what)


def _objection(name: str, version: str, live: str | None, *, person_decides: bool) -> str:
    """Why this version may not go live; empty if it may."""
    wished = find(name, version)
    if wished is None:
        return f"it is no version of {name}, or not any more"
    if version == live:
        return ""
    tags = wished.tags
    verdict, against = tags.get(Tag.VERDICT), tags.get(Tag.VERDICT_AGAINST)
    if tags.get(Tag.PROOF) != "passed":
        return "it was not proved to predict what was evaluated"
    if against != (live or NONE):
        return (
            f"its verdict was made against {_named(against)}, but {_named(live)} is live now: make run judges the "
            "newest version again; an older one comes back with make rollback"
        )
    if verdict == Verdict.PASS or (verdict == Verdict.UNDECIDED and person_decides):
        return ""
    more = "; gate.person_decides would let a person's word count" if verdict == Verdict.UNDECIDED else ""
    return f"the verdict is {verdict}: {tags.get(Tag.VERDICT_WHY)}{more}"


def _named(version: str | None) -> str:
    return f"version {version}" if version and version != NONE else "no version"


def _settle(name: str, ledger: Ledger) -> list[Entry]:
    """Makes `live` what the ledger says; what is live before there is a ledger is its first line.

    Where that version was deleted none is live; the line that says so is given.
    """
    found = find(name, LIVE)
    if found and not ledger.entries:
        why = "it was live before the ledger began"
        ledger.add(Event.FOUND, str(found.version), "none", str(found.version), why, made_at(found))
    deleted = []
    if ledger.live and not is_there(name, ledger.live, ledger.made):
        why = "it was live, and is not in the registry any more: make rollback takes the one before"
        deleted.append(ledger.add(Event.DELETED, ledger.live, "none", None, why))
    if (str(found.version) if found else None) != ledger.live:
        _point(name, LIVE, ledger.live)
    return deleted


def _point(name: str, alias: str, version: str | None) -> None:
    if version is None:
        client().delete_registered_model_alias(name, alias)
    else:
        client().set_registered_model_alias(name, alias, version)
