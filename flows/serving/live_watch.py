"""Which version is live, without MLflow's client: from this machine's ledger, or else from the alias at the server."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from flows.registry.ledger import Ledger
from flows.registry.ledger_owner import ledger_path
from flows.registry.version_record import LiveVersion
from flows.registry.watcher import address_of, registry_state
from flows.serving.messages import Servable


class Sighting(NamedTuple):
    """The live version, if any; versions that were live before, newest first; and whether that can be told at all."""

    live: LiveVersion | None
    before: tuple[LiveVersion, ...] = ()
    is_certain: bool = True


UNKNOWN = Sighting(None, is_certain=False)


class LiveWatch:
    """Looks at the ledger if it has changed. The ledger wins over the alias, which anyone can set."""

    def __init__(self, model: str) -> None:
        self._model, self._file = model, ledger_path(model)
        self._server = address_of(os.environ["MLFLOW_TRACKING_URI"], "")
        self._seen: tuple[int, int] | None = None
        self._last: Sighting | None = None

    @property
    def asks_server(self) -> bool:
        """Returns whether the last look was a request to MLflow's server, and not at a file."""
        return self._last is None and bool(self._server)

    def look(self) -> Sighting:
        """Returns the live version. Raises RootstockError, OSError or ValueError if it cannot be told now."""
        stamp = _stamp(self._file)
        if stamp != self._seen:
            ledger = Ledger(self._file)
            self._last = Sighting(ledger.live, tuple(ledger.before_live())) if ledger.releases else None
            self._seen = stamp
        return self._last or self._by_alias()

    def _by_alias(self) -> Sighting:
        if self._server is None:
            return UNKNOWN
        if not self._server:  # this project's own database, and no release yet
            return Sighting(None)
        number = registry_state(self._server, self._model).live
        return Sighting(LiveVersion(number=number) if number else None)


def _stamp(file: Path) -> tuple[int, int] | None:
    """Returns what changes with a file; None if it does not exist."""
    try:
        facts = file.stat()
    except FileNotFoundError:
        return None
    return facts.st_mtime_ns, facts.st_size


def is_version(servable: Servable, live: LiveVersion | None) -> bool:
    """Returns whether a copy is of this version."""
    return LiveVersion(number=servable.number, made=servable.made, files=servable.files).is_same(live)
