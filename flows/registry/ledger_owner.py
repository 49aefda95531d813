"""Ownership of a registered model by a single ledger, which a tag on the model names for other checkouts to see."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout

from flows.local.credentials import address_id
from flows.local.database import LEDGERS, LOCAL
from flows.local.environment import LOCAL_DATABASE
from flows.registry import ledger_end
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import ACCEPT, LedgerError
from flows.registry.store import client
from flows.registry.tags import Tag
from tasks.core.errors import RootstockError

LOCK_SECONDS = 60.0
OLDER = "ledger-older"  # key of the error for a ledger that lacks lines
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
    """Raises OtherLedgerError if another ledger owns the model, and LedgerError if that was in the same place.

    Raises LedgerError, too, if this ledger lacks lines with which it released before: it is an older copy.
    """
    owner = _owner(name)
    if owner.ledger == ledger.id and _is_original(ledger.file, owner.place):
        raise _released_in(owner.place, name, ledger)
    if owner.ledger == ledger.id and owner.seal and not ledger.has_line(owner.seal):
        raise LedgerError(
            f"{ledger.file} lacks the line {owner.seal}, which MLflow notes for {name}: it is an older copy, or "
            f"somebody changed the tag {Tag.LEDGER}; restore the newest backup, or look at which version is live and "
            f"go on with {ACCEPT}",
            key=OLDER,
        )
    if owner.ledger in {"", ledger.id}:
        return
    if owner.place == _place(ledger.file):
        raise LedgerError(
            f"the tag {Tag.LEDGER} of {name} in MLflow names another ledger ({owner.ledger}) than {ledger.file}: if "
            f"that was replaced, restore the newest backup; if somebody changed the tag, go on with {ACCEPT}",
            key="ledger-lost",
        )
    raise _released_in(owner.place, name, ledger)


class Owner(NamedTuple):
    """What the tag of a registered model tells: the ledger that owns it, the seal of a line, and its place."""

    ledger: str
    seal: str  # of the last line when the tag was set; empty in tags of earlier releases
    place: str


def _owner(name: str) -> Owner:
    models = client().search_registered_models(f"name = '{name}'")
    tag = next((model.tags.get(Tag.LEDGER, "") for model in models), "")
    match = re.fullmatch(r"(\S*) ?(?:([0-9a-f]{16}) )?(.*)", tag, re.DOTALL)
    return Owner(match[1], match[2] or "", match[3]) if match else Owner(tag, "", "")


def _released_in(place: str, name: str, ledger: Ledger) -> OtherLedgerError:
    return OtherLedgerError(
        f"releases of {name} are recorded in {place}, not in {ledger.file}: release and roll back there, or remove "
        f"the tag {Tag.LEDGER} of the registered model in MLflow to take over",
        key="other-ledger",
    )


def _is_original(file: Path, place: str) -> bool:
    """Returns whether the ledger with the same ID in another place of this machine is still there: this is its copy.

    A local database is copied with its checkout, so each has its own.
    """
    host, _, path = place.partition(":")
    if file.stem.endswith(f"-{LOCAL}") or host != socket.gethostname():
        return False
    with suppress(OSError, ValueError):  # no path, or one that cannot be looked at
        return Path(path).is_file() and not Path(path).samefile(file)
    return False


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
    """Tags the registered model with this ledger and its last line, so that other checkouts do not release it."""
    owner, is_there = _owner(name), bool(client().search_registered_models(f"name = '{name}'"))
    if is_there and ledger.releases and owner.ledger in {"", ledger.id} and owner != _owner_of(ledger):
        take_over(name, ledger)


def take_over(name: str, ledger: Ledger) -> None:
    """Tags the registered model with this ledger, even if another one had released it."""
    client().set_registered_model_tag(name, Tag.LEDGER, " ".join(_owner_of(ledger)))


def _owner_of(ledger: Ledger) -> Owner:
    return Owner(ledger.id, ledger.entries[-1]["seal"][:16], _place(ledger.file))


def _place(file: Path) -> str:
    return f"{socket.gethostname()}:{file.resolve()}"
