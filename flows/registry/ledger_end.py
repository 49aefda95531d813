"""Where each ledger ended when this user last saw it, kept outside of the registry.

A ledger may grow by other hands, but a lost, cut or older one, or one with other lines, is no continuation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from flows.registry.ledger_lines import ACCEPT, Entry, LedgerError
from flows.registry.signing import config_folder
from tasks.core.errors import DamagedFileError
from tasks.core.files import read_json, write_json


def remember(ledger: Path, entries: Sequence[Entry]) -> None:
    """Notes the number of lines and the last seal, unless they are noted already."""
    end = {"ledger": str(ledger.resolve()), "lines": len(entries), "seal": entries[-1]["seal"]}
    if _noted(ledger) != end:
        with suppress(OSError):  # no home, or no space: the ledger continues what was noted before
            write_json(_file(ledger), end)


def forget(ledger: Path) -> None:
    """Removes the note: the ledger's model is gone, or a person has accepted another ledger."""
    _file(ledger).unlink(missing_ok=True)


def check_continues(ledger: Path, entries: Sequence[Entry]) -> None:
    """Raises LedgerError if the ledger does not continue the one that was last seen at this path."""
    noted = _noted(ledger)
    lines, last = int(noted.get("lines", 0)), noted.get("seal")
    if not lines or (len(entries) >= lines and entries[lines - 1]["seal"] == last):
        return
    state = f"has {len(entries)} lines, not {lines}" if len(entries) < lines else f"has another line {lines}"
    raise LedgerError(
        f"{ledger} {state if entries else 'is lost'}: it is not the ledger that this user saw last, so nothing is "
        f"released; restore the newest backup, or look at which version is live and go on with {ACCEPT}",
        key="ledger-cut",
    )


def _noted(ledger: Path) -> dict[str, Any]:
    """Returns the note; a damaged one is taken as none, since a ledger is also signed."""
    try:
        noted = read_json(_file(ledger))
    except (FileNotFoundError, DamagedFileError):
        return {}
    return noted if isinstance(noted, dict) else {}


def _file(ledger: Path) -> Path:
    name = hashlib.sha256(json.dumps(str(ledger.resolve())).encode()).hexdigest()[:16]
    return config_folder() / "ledgers" / f"{name}.json"
