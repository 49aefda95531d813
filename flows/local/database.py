"""MLflow's local database: SQLite makes a new one in place of one that was lost, and nobody would be told."""

from __future__ import annotations

from flows.local.environment import DATABASE, REGISTRY
from tasks.core.errors import RootstockError

LEDGERS = REGISTRY / "ledger"
LOCAL = "own"  # in the name of a ledger: the local database, whose URI changes when the checkout moves


def check_not_lost() -> None:
    """Raises RootstockError if the database is missing or empty although a ledger has lines about its versions."""
    if DATABASE.exists() and DATABASE.stat().st_size:
        return
    if filled := next((file for file in sorted(LEDGERS.glob(f"*-{LOCAL}.jsonl")) if file.stat().st_size), None):
        raise RootstockError(
            f"{DATABASE} is {'empty' if DATABASE.exists() else 'missing'}, but {filled} has lines about its versions: "
            f"restore the database from a backup; if it is meant to be gone, move {filled.name} away too",
            key="mlflow-database",
        )
