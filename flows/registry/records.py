"""Records of versions: made at registration and by the gate, and believed by the release."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flows.local import git
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import Event, LedgerError
from flows.registry.ledger_owner import STATEMENT_SECONDS, ledger_path, open_ledger
from flows.registry.published import publish, published
from flows.registry.tags import Tag
from flows.registry.version_files import VersionFiles, changed, check_tagged, digest_of_version
from flows.registry.version_record import APPROVED, REGISTERED, LiveVersion, VersionRecord, identity_of
from tasks.core.errors import RootstockError
from tasks.core.progress import warn

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


@dataclass(frozen=True)
class Statement:
    """What is new in a record; fields that are None are as in the version's record before."""

    event: Event
    verdict: str = REGISTERED
    why: str = ""
    against: LiveVersion | None = None
    gate: str = ""
    test: str = ""
    files: str | None = None
    key: str | None = None
    proved: bool | None = None


def state(version: ModelVersion, statement: Statement, ledger_file: Path | None = None) -> VersionRecord:
    """Records a statement about a version, unless its last record says the same. Returns the version's record.

    The record is a line of this machine's ledger and, signed, a file in the version's run. A ledger that a person has
    to look at stops releases, but no retraining.
    """
    try:
        with open_ledger(version.name, ledger_file, STATEMENT_SECONDS) as ledger:
            return state_in(ledger, version, statement)
    except LedgerError as error:
        warn(str(error))
        return state_in(None, version, statement)


def state_in(ledger: Ledger | None, version: ModelVersion, statement: Statement) -> VersionRecord:
    """Does what `state` does with a ledger whose lock is held; with None, the record is in the version's run only."""
    ours, theirs = _line_about(version, ledger), published(version).record
    before = max((each for each in (ours, theirs) if each), key=lambda each: each.sequence, default=None)
    record = _next(version, statement, before)
    is_approval = record.verdict == APPROVED
    if before and record.says_the_same(before) and not is_approval and not (ledger and ledger.moved_since(before)):
        record = before
    elif ledger:
        ledger.state(statement.event, record)
    if record != theirs and not is_approval:
        publish(version, record)
    return record


def _next(version: ModelVersion, statement: Statement, before: VersionRecord | None) -> VersionRecord:
    """Returns the record to follow `before`."""
    model, number, made = identity_of(version)
    files, key, proved = statement.files, statement.key, statement.proved
    if files is None:
        files = before.files if before else digest_of_version(version)
    return VersionRecord(
        model=model,
        number=number,
        made=made,
        files=files,
        key=(before.key if before else "") if key is None else key,
        proved=bool(before and before.proved) if proved is None else proved,
        verdict=statement.verdict,
        why=statement.why,
        against=statement.against,
        gate=statement.gate,
        test=statement.test,
        commit=git.commit(),
        sequence=before.sequence + 1 if before else 1,
        at=datetime.now().astimezone().isoformat(timespec="seconds"),
    )


def trusted_record(version: ModelVersion, ledger: Ledger | None) -> VersionRecord | None:
    """Returns the record that counts: the ledger's, or a later one in the version's run.

    Raises RootstockError if there is only a record that is not to be trusted, or two that differ.
    """
    ours, theirs = _line_about(version, ledger), published(version)
    if ours is None and theirs.record is None and theirs.complaint:
        raise theirs.complaint
    if ours and theirs.record and ours.sequence == theirs.record.sequence and not ours.says_the_same(theirs.record):
        raise RootstockError(
            "two machines judged it at the same time and recorded different things: make run judges it again",
            key="records-differ",
        )
    both = [record for record in (ours, theirs.record) if record]
    return max(both, key=lambda record: record.sequence, default=None)


def _line_about(version: ModelVersion, ledger: Ledger | None) -> VersionRecord | None:
    return ledger.record_of(str(version.version), int(version.creation_timestamp)) if ledger else None


def last_record(version: ModelVersion) -> VersionRecord | None:
    """Returns the record that counts in this registry, or None if there is none to be trusted."""
    try:
        return trusted_record(version, readable_ledger(version.name))
    except RootstockError:
        return None


def is_unrecorded(version: ModelVersion) -> bool:
    """Returns whether nobody, trusted or not, has said anything about a version."""
    theirs, ledger = published(version), readable_ledger(version.name)
    if theirs.record or theirs.complaint or Tag.PROOF in version.tags or ledger is None:
        return False
    return all(entry["version"] != str(version.version) for entry in ledger.entries)


def files_of(version: ModelVersion) -> str | None:
    """Returns the digest of a version's files: the recorded one, or else that of the files as they are, if readable."""
    record = last_record(version)
    try:
        return record.files if record else digest_of_version(version)
    except RootstockError:
        return None


def check_recorded(version: ModelVersion, files: VersionFiles) -> None:
    """Raises RootstockError if the files are not those in the version's record; without one, in its tag."""
    record = last_record(version)
    if record is None:
        check_tagged(version, files)
    elif record.files != files.digest():
        raise changed(files)


def readable_ledger(name: str) -> Ledger | None:
    """Returns this registry's ledger; None with a warning if it is not to be trusted: only releases stop then."""
    try:
        return Ledger(ledger_path(name))
    except LedgerError as error:
        warn(str(error))
        return None
