"""Copies a version that may be served: one with a good record, whose files are those recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from flows.registry.aliases import LIVE
from flows.registry.objections import refusal, unproved
from flows.registry.records import readable_ledger, trusted_record
from flows.registry.shared_scorer import shared_scorer
from flows.registry.version_record import LiveVersion
from flows.registry.versions import find, find_number
from tasks.core.errors import RootstockError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

    from flows.registry.ledger import Ledger
    from tasks.evaluation.version_scorer import VersionScorer


def live_version(name: str) -> ModelVersion | None:
    """Returns the version with the alias live, or None."""
    return find(name, LIVE)


def recorded_version(name: str, live: LiveVersion) -> ModelVersion:
    """Returns a version of the ledger. Raises RootstockError if it is not in the registry."""
    version = find_number(name, live.number)
    if version is None or not live.is_same(LiveVersion.of(version)):
        raise RootstockError(f"version {live.number} of {name} is no longer in the registry", key="version-not-found")
    return version


def copy_servable(version: ModelVersion, folder: Path, *, person_decides: bool) -> tuple[VersionScorer, str]:
    """Checks a version, and copies its artifacts to `folder`. Returns its scorer and the digest of all its files.

    Raises RootstockError if it is not to be served. An alias alone proves nothing, since anyone can set it.
    """
    ledger = readable_ledger(version.name)
    record = trusted_record(version, ledger)
    what = f"version {version.version} of {version.name} is not served: "
    if record is None:
        raise RootstockError(f"{what}nothing that this machine trusts records its verdict", key="not-servable")
    objection = unproved(record)
    if not objection and not _was_released(version, ledger):
        objection = refusal(record, person_decides=person_decides)
    if objection:
        raise RootstockError(f"{what}{objection}", key="not-servable")
    return shared_scorer(version, folder), record.files


def _was_released(version: ModelVersion, ledger: Ledger | None) -> bool:
    """Returns whether this machine's ledger says that the version is live, or was: a release has decided then."""
    if ledger is None:
        return False
    lives = [live for live in (ledger.live, *ledger.before_live()) if live]
    return any(live.is_same(LiveVersion.of(version)) for live in lives)
