"""Ownership of a registered model by a single ledger, which a tag on the model names for other checkouts to see."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from flows.local.credentials import address_id
from flows.local.environment import LOCAL_DATABASE, REGISTRY
from flows.registry import ledger_end
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import ACCEPT, LedgerError
from flows.registry.store import client
from flows.registry.tags import Tag
from tasks.core.errors import RootstockError

LOCK_SECONDS = 60.0
LOCAL = "own"  # in the file name: the local database, whose URI changes when the checkout moves


class OtherLedgerError(RootstockError):
    """The model's releases are recorded in another ledger."""


def ledger_path(name: str) -> Path:
    """Returns the path of this model's ledger in this registry: each registry has its own ledgers."""
    uri = os.environ["MLFLOW_TRACKING_URI"]
    registry = LOCAL if uri == LOCAL_DATABASE else address_id(uri)
    return REGISTRY / "ledger" / f"{name}-{registry}.jsonl"


@contextmanager
def locked_ledger(name: str, file: Path | None) -> Iterator[Ledger]:
    """Yields the model's ledger, by default this registry's, and holds its lock.

    Raises OtherLedgerError if another ledger owns the model: two ledgers would undo each other's releases.
    """
    file = file or ledger_path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with held(file):
        models = client().search_registered_models(f"name = '{name}'")
        owner, _, place = next((model.tags.get(Tag.LEDGER, "") for model in models), "").partition(" ")
        if not models:  # nothing was ever judged in this registry: an end that is noted is of one that is gone
            ledger_end.forget(file)
        ledger = Ledger(file)
        if owner not in {"", ledger.id}:
            if place == _place(file):
                raise LedgerError(
                    f"{file} is not the ledger that released {name} (its ID is {owner}): restore the newest backup, or "
                    f"look at which version is live and go on with {ACCEPT}",
                    key="ledger-lost",
                )
            raise OtherLedgerError(
                f"releases of {name} are recorded in {place}, not in {file}: release and roll back there, or remove "
                f"the tag {Tag.LEDGER} of the registered model in MLflow to take over",
                key="other-ledger",
            )
        if ledger.entries:
            ledger_end.remember(file, ledger.entries)
        yield ledger


def held(file: Path) -> AbstractContextManager[object]:
    """Takes the lock of a ledger. Raises RootstockError if another process holds it for long."""
    try:
        return FileLock(file.with_suffix(".lock")).acquire(timeout=LOCK_SECONDS)
    except Timeout:
        raise RootstockError(
            f"another release has held {file} for {LOCK_SECONDS:.0f} seconds: try again later", key="ledger-busy"
        ) from None


def claim(name: str, ledger: Ledger) -> None:
    """Tags the registered model with this ledger, so that other checkouts do not release it."""
    models = client().search_registered_models(f"name = '{name}'")
    if ledger.releases and models and Tag.LEDGER not in models[0].tags:
        take_over(name, ledger)


def take_over(name: str, ledger: Ledger) -> None:
    """Tags the registered model with this ledger, even if another one had released it."""
    client().set_registered_model_tag(name, Tag.LEDGER, f"{ledger.id} {_place(ledger.file)}")


def _place(file: Path) -> str:
    return f"{socket.gethostname()}:{file.resolve()}"
