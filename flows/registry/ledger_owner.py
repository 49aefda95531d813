"""Ownership of a registered model by a single ledger, which a tag on the model names for other checkouts to see."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from flows.local.credentials import address_id
from flows.local.database import LEDGERS, LOCAL
from flows.local.environment import LOCAL_DATABASE
from flows.registry import ledger_end
from flows.registry.aliases import LIVE
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import ACCEPT, LedgerError
from flows.registry.store import client
from flows.registry.tags import Tag
from tasks.core.errors import RootstockError

if TYPE_CHECKING:
    from mlflow.entities.model_registry import RegisteredModel

LOCK_SECONDS = 60.0
MOVED = "ledger-moved"  # key of the error for a ledger that may be an old copy
STATEMENT_SECONDS = 600.0  # a release may be downloading a version, and a retraining has time


class OtherLedgerError(RootstockError):
    """The model's releases are recorded in another ledger."""


def ledger_path(name: str) -> Path:
    """Returns the path of this model's ledger in this registry: each registry has its own ledgers."""
    uri = os.environ["MLFLOW_TRACKING_URI"]
    registry = LOCAL if uri == LOCAL_DATABASE else address_id(uri)
    return LEDGERS / f"{name}-{registry}.jsonl"


@contextmanager
def locked_ledger(name: str, file: Path | None) -> Iterator[Ledger]:
    """Yields the model's ledger, by default this registry's, and holds its lock.

    Raises OtherLedgerError if another ledger owns the model: two ledgers would undo each other's releases.
    """
    with open_ledger(name, file) as ledger:
        _check_owner(name, ledger)
        yield ledger


@contextmanager
def open_ledger(name: str, file: Path | None, wait: float = LOCK_SECONDS) -> Iterator[Ledger]:
    """Yields this registry's ledger of the model, whoever owns the model's releases, and holds its lock."""
    file = file or ledger_path(name)
    file.parent.mkdir(parents=True, exist_ok=True)
    with held(file, wait):
        ledger = Ledger(file)
        if ledger.entries:
            ledger_end.remember(file, ledger.entries)
        yield ledger


def _check_owner(name: str, ledger: Ledger) -> None:
    """Raises OtherLedgerError if another ledger owns the model, and LedgerError if that was in the same place."""
    models = client().search_registered_models(f"name = '{name}'")
    owner, _, place = next((model.tags.get(Tag.LEDGER, "") for model in models), "").partition(" ")
    if owner == ledger.id and _is_elsewhere(ledger.file, place):
        _check_moved(ledger, models[0], place)
    if owner in {"", ledger.id}:
        return
    if place == _place(ledger.file):
        raise LedgerError(
            f"the tag {Tag.LEDGER} of {name} in MLflow names another ledger ({owner}) than {ledger.file}: if that was "
            f"replaced, restore the newest backup; if somebody changed the tag, go on with {ACCEPT}",
            key="ledger-lost",
        )
    raise _released_in(place, name, ledger)


def _released_in(place: str, name: str, ledger: Ledger) -> OtherLedgerError:
    return OtherLedgerError(
        f"releases of {name} are recorded in {place}, not in {ledger.file}: release and roll back there, or remove "
        f"the tag {Tag.LEDGER} of the registered model in MLflow to take over",
        key="other-ledger",
    )


def _is_elsewhere(file: Path, place: str) -> bool:
    """Returns whether the tag names another place than this one. A local database is where its checkout is."""
    return bool(place) and place != _place(file) and not file.stem.endswith(f"-{LOCAL}")


def _check_moved(ledger: Ledger, model: RegisteredModel, place: str) -> None:
    """Raises OtherLedgerError if the ledger at the place in the tag is still there, so that this one is a copy of it.

    Raises LedgerError if this one cannot be the one that released last: it may be an old copy.
    """
    host, _, path = place.partition(":")
    with suppress(OSError):  # a path that cannot be looked at, or is none
        if host == socket.gethostname() and Path(path).is_file() and not Path(path).samefile(ledger.file):
            raise _released_in(place, model.name, ledger)
    at = model.aliases.get(LIVE)
    if (at and str(at)) != (ledger.live and ledger.live.number):
        raise LedgerError(
            f"{ledger.file} was in {place} before, and another version of {model.name} is live than it says: if it is "
            f"an old copy, restore the newest backup, or look at which version is live and go on with {ACCEPT}",
            key=MOVED,
        )


def begin_again(name: str, file: Path | None = None) -> None:
    """Takes note that the model is new in this registry: without a ledger, the one seen last at its path is gone."""
    if not (file := file or ledger_path(name)).exists():
        ledger_end.forget(file)


def held(file: Path, wait: float = LOCK_SECONDS) -> AbstractContextManager[object]:
    """Takes the lock of a ledger. Raises RootstockError if another process holds it for long."""
    try:
        return FileLock(file.with_suffix(".lock")).acquire(timeout=wait)
    except Timeout:
        raise RootstockError(
            f"another release has held {file} for {wait:.0f} seconds: try again later", key="ledger-busy"
        ) from None


def claim(name: str, ledger: Ledger) -> None:
    """Tags the registered model with this ledger and its place, so that other checkouts do not release it."""
    models = client().search_registered_models(f"name = '{name}'")
    if not ledger.releases or not models:
        return
    tag = models[0].tags.get(Tag.LEDGER, "")
    if tag.partition(" ")[0] in {"", ledger.id} and tag != _tag_of(ledger):
        take_over(name, ledger)


def take_over(name: str, ledger: Ledger) -> None:
    """Tags the registered model with this ledger, even if another one had released it."""
    client().set_registered_model_tag(name, Tag.LEDGER, _tag_of(ledger))


def _tag_of(ledger: Ledger) -> str:
    return f"{ledger.id} {_place(ledger.file)}"


def _place(file: Path) -> str:
    return f"{socket.gethostname()}:{file.resolve()}"
