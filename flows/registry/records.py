"""Records of versions, in the ledger of this machine and, signed, in the versions' runs for other machines."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import quote

from flows.local import git
from flows.registry import signing
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import Event, LedgerError
from flows.registry.ledger_owner import OtherLedgerError, ledger_path, locked_ledger
from flows.registry.outage import is_outage
from flows.registry.store import client
from flows.registry.version_files import VersionFiles, changed, check_tagged, digest_of_version
from flows.registry.version_record import REGISTERED, LiveVersion, SignedRecord, VersionRecord
from tasks.core.errors import RootstockError
from tasks.core.progress import warn

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

FOLDER = "records"  # in the artifacts of the version's run


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

    The record is a line of the ledger if that owns the model, and a signed file in the version's run in any case.
    """
    try:
        with locked_ledger(version.name, ledger_file) as ledger:
            return state_in(ledger, version, statement)
    except OtherLedgerError:  # releases are made elsewhere, by the signed record
        return state_in(None, version, statement)
    except LedgerError as error:  # releases stop until a person has looked at it, but no retraining does
        warn(str(error))
        return state_in(None, version, statement)


def state_in(ledger: Ledger | None, version: ModelVersion, statement: Statement) -> VersionRecord:
    """Does what `state` does with a ledger whose lock is held; with None, the record is in the version's run only."""
    before = _last_of(version, ledger)
    record = _next(version, statement, before)
    if record.says_the_same(before):
        return record
    if ledger:
        ledger.state(statement.event, record)
    publish(version, record)
    return record


def is_proved(version: ModelVersion, key: str) -> bool:
    """Returns whether a trusted record says that a version reproduced the results with this key."""
    record = _last_of(version, _readable_ledger(version))
    return record is not None and record.proved and record.key == key


def _next(version: ModelVersion, statement: Statement, before: VersionRecord | None) -> VersionRecord:
    """Returns the record to follow `before`."""
    files, key, proved = statement.files, statement.key, statement.proved
    if files is None:
        files = before.files if before else digest_of_version(version)
    return VersionRecord(
        model=str(version.name),
        number=str(version.version),
        made=int(version.creation_timestamp),
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


def _last_of(version: ModelVersion, ledger: Ledger | None) -> VersionRecord | None:
    """Returns the version's last record, as far as this machine trusts it."""
    try:
        return trusted_record(version, ledger)
    except RootstockError:
        return None


def trusted_record(version: ModelVersion, ledger: Ledger | None) -> VersionRecord | None:
    """Returns the record that counts: the ledger's, or a later one in the version's run if its key is trusted.

    Raises RootstockError if there is only a record that is not to be trusted.
    """
    ours = ledger.record_of(str(version.version), int(version.creation_timestamp)) if ledger else None
    try:
        theirs = _published(version)
    except RootstockError:
        if ours is None:
            raise
        return ours
    return max((each for each in (ours, theirs) if each), key=lambda each: each.sequence, default=None)


def _published(version: ModelVersion) -> VersionRecord | None:
    """Returns the record in the version's run, or None. Raises RootstockError if it is not to be trusted."""
    text = _text_of(version)
    if text is None:
        return None
    signed = SignedRecord.parsed(text)
    if not signing.is_trusted(signed.key):
        raise RootstockError(
            f"its record is signed by the key {signed.key}, which is neither this machine's nor in {signing.TRUSTED}: "
            "if the machine is yours, add a line with the key and a name there",
            key="record-not-trusted",
        )
    record = signed.record
    if (record.model, record.number, record.made) != _identity(version):
        raise RootstockError(
            f"its record is of version {record.number} of {record.model}, or of an earlier version with its number",
            key="record-of-another",
        )
    return record


def _identity(version: ModelVersion) -> tuple[str, str, int]:
    return str(version.name), str(version.version), int(version.creation_timestamp)


def publish(version: ModelVersion, record: VersionRecord) -> None:
    """Writes the signed record to the version's run, if MLflow still has it."""
    from mlflow.exceptions import MlflowException

    if not version.run_id:
        return
    try:
        client().log_text(str(version.run_id), SignedRecord.of(record).model_dump_json(indent=2), _name(version))
    except MlflowException as error:
        if is_outage(error):
            raise


def _text_of(version: ModelVersion) -> str | None:
    """Returns the text of the record in the version's run, or None if there is no run or no record."""
    from mlflow.exceptions import MlflowException

    if not version.run_id:
        return None
    try:
        if all(file.path != _name(version) for file in client().list_artifacts(str(version.run_id), FOLDER)):
            return None
        with TemporaryDirectory() as private:
            return Path(client().download_artifacts(str(version.run_id), _name(version), private)).read_text("utf-8")
    except (MlflowException, FileNotFoundError, UnicodeDecodeError) as error:
        if is_outage(error):
            raise
        return None


def _name(version: ModelVersion) -> str:
    return f"{FOLDER}/{quote(str(version.name), safe='')}-{version.version}.json"


def check_recorded(version: ModelVersion, files: VersionFiles) -> None:
    """Raises RootstockError if the files are not those in the ledger's record; without one, in the version's tag."""
    ledger = _readable_ledger(version)
    record = ledger.record_of(str(version.version), int(version.creation_timestamp)) if ledger else None
    if record is None:
        check_tagged(version, files)
    elif record.files != files.digest():
        raise changed(files)


def _readable_ledger(version: ModelVersion) -> Ledger | None:
    """Returns this registry's ledger, or None with a warning if it is not to be trusted: only releases stop then."""
    try:
        return Ledger(ledger_path(version.name))
    except LedgerError as error:
        warn(str(error))
        return None
