"""Signed records in the runs of versions, by which machines that share nothing but MLflow tell what they judged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import quote

from flows.registry import signing
from flows.registry.outage import is_outage
from flows.registry.store import client
from flows.registry.version_files import is_temporary
from flows.registry.version_record import APPROVED, SignedRecord, VersionRecord, identity_of
from tasks.core.errors import RootstockError
from tasks.core.progress import warn

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

FOLDER = "records"  # in the artifacts of the version's run, with a file for each version and key
MAX_BYTES = 64 * 1024  # of a record
MAX_FILES = 32  # records of one version that are read


@dataclass(frozen=True)
class Published:
    """The trusted record of a version with the highest sequence, and why others are not trusted."""

    record: VersionRecord | None
    complaint: RootstockError | None


def published(version: ModelVersion) -> Published:
    """Returns what the version's run holds. A person's approval is not among it: it is for one ledger."""
    records, complaint = [], None
    for text in _texts(version):
        try:
            records.append(_trusted(version, text))
        except RootstockError as error:
            complaint = error
    verdicts = [record for record in records if record.verdict != APPROVED]
    return Published(max(verdicts, key=lambda record: record.sequence, default=None), complaint)


def publish(version: ModelVersion, record: VersionRecord) -> None:
    """Writes the signed record to the version's run, if MLflow still has it."""
    from mlflow.exceptions import MlflowException

    if not version.run_id:
        return
    signed = SignedRecord.of(record)
    name = f"{_prefix(version)}{signed.key[:16]}.json"
    try:
        client().log_text(str(version.run_id), signed.model_dump_json(indent=2), name)
    except MlflowException as error:
        if is_outage(error):
            raise
        warn(f"the record of version {version.version} is not in its run, so no other machine can release it: {error}")


def _trusted(version: ModelVersion, text: str) -> VersionRecord:
    """Returns the record in a text. Raises RootstockError if it is not to be trusted."""
    signed = SignedRecord.parsed(text)
    if not signing.is_trusted(signed.key):
        raise RootstockError(
            f"its record is signed by the key {signed.key}, which is neither this machine's nor in {signing.TRUSTED}: "
            "if the machine is yours, add a line with the key and a name there",
            key="record-not-trusted",
        )
    record = signed.record
    if record.identity != identity_of(version):
        raise RootstockError(
            f"its record is of version {record.number} of {record.model}, or of an earlier version with its number",
            key="record-of-another",
        )
    return record


def _texts(version: ModelVersion) -> Iterator[str]:
    """Yields the texts of the records in the version's run; none if there is no run."""
    from mlflow.exceptions import MlflowException

    run, tracker = str(version.run_id), client()
    if not version.run_id:
        return
    try:
        listed = [file for file in tracker.list_artifacts(run, FOLDER) if file.path.startswith(_prefix(version))]
        files = [file for file in listed if not file.is_dir and (file.file_size or 0) <= MAX_BYTES]
        for file in files[:MAX_FILES]:
            with TemporaryDirectory() as private:
                yield Path(tracker.download_artifacts(run, file.path, private)).read_text("utf-8")
    except (MlflowException, OSError, UnicodeDecodeError) as error:
        if is_temporary(error):
            raise


def _prefix(version: ModelVersion) -> str:
    return f"{FOLDER}/{quote(str(version.name), safe='')}-{version.version}-"
