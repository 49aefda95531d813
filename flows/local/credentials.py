"""Credentials in the address of an MLflow server: moved to the variables that MLflow reads, since addresses are shown.

MLflow's errors and logs quote the address. Database URIs keep theirs, which SQLAlchemy hides by itself.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit

URI, USER, PASSWORD = (f"MLFLOW_TRACKING_{name}" for name in ("URI", "USERNAME", "PASSWORD"))


def separate_credentials(registry: Path) -> None:
    """Moves user and password of an MLflow server's address to variables, and renames the ledgers of that address."""
    before = os.environ.get(URI, "")
    try:
        parts = urlsplit(before)
        user, password = parts.username, parts.password
    except ValueError:  # no address: the store says so
        return
    if parts.scheme in {"http", "https"} and user and password:
        after = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
        os.environ |= {URI: after, USER: unquote(user), PASSWORD: unquote(password)}
        _rename_ledgers(registry / "ledger", address_id(before), address_id(after))


def address_id(uri: str) -> str:
    """Returns the ID of an MLflow store in the names of its ledgers."""
    return hashlib.sha256(uri.encode()).hexdigest()[:8]


def _rename_ledgers(folder: Path, before: str, after: str) -> None:
    for file in folder.glob(f"*-{before}.jsonl"):
        target = file.with_name(file.name.replace(before, after))
        if not target.exists():
            file.rename(target)
