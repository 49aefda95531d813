"""Where each ledger ended when this user last saw it, kept outside of the registry.

A ledger may grow by other hands, but a lost, cut or older one, or one with other lines, is no continuation.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from flows.registry.ledger_lines import ACCEPT, Entry, LedgerError
from flows.registry.signing import config_folder
from tasks.core.files import write_text


class End(BaseModel):
    """The number of lines of a ledger and the seal of the last one."""

    model_config = ConfigDict(strict=True)
    ledger: str
    lines: int = Field(gt=0)
    seal: str


def remember(ledger: Path, entries: Sequence[Entry]) -> None:
    """Notes the number of lines and the last seal, unless they are noted already."""
    end = End(ledger=str(ledger.resolve()), lines=len(entries), seal=entries[-1]["seal"])
    if noted(ledger) != end:
        with suppress(OSError):  # no home, or no space: the ledger continues what was noted before
            write_text(_file(ledger), end.model_dump_json())


def forget(ledger: Path) -> None:
    """Removes the note of a ledger whose registry is gone."""
    with suppress(OSError):
        _file(ledger).unlink(missing_ok=True)


def check_continues(ledger: Path, entries: Sequence[Entry], end: End) -> None:
    """Raises LedgerError if the ledger does not continue the one that was last seen at this path."""
    if len(entries) >= end.lines and entries[end.lines - 1]["seal"] == end.seal:
        return
    state = (
        f"has {len(entries)} lines, not {end.lines}" if len(entries) < end.lines else f"has another line {end.lines}"
    )
    raise LedgerError(
        f"{ledger} {state if entries else 'is lost'}: it is not the ledger that this user saw last, so nothing is "
        f"released; restore the newest backup, or look at which version is live and go on with {ACCEPT}",
        key="ledger-cut",
    )


def noted(ledger: Path) -> End | None:
    """Returns the note; None if there is none or if it is damaged, since a ledger is also signed."""
    try:
        return End.model_validate_json(_file(ledger).read_bytes())
    except (OSError, ValueError):
        return None


def _file(ledger: Path) -> Path:
    name = hashlib.sha256(json.dumps(str(ledger.resolve())).encode()).hexdigest()[:16]
    return config_folder() / "ledgers" / f"{name}.json"
