"""MLflow's local database: it is created whole, and one that was lost is not silently replaced by an empty one."""

from __future__ import annotations

from filelock import FileLock

from flows.local.environment import DATABASE, REGISTRY
from tasks.core.errors import RootstockError

LEDGERS = REGISTRY / "ledger"
LOCAL = "own"  # in the name of a ledger: the local database, whose URI changes when the checkout moves


def prepare() -> None:
    """Creates the database if there is none. Raises RootstockError if there was one, which is lost.

    It is created beside and renamed: MLflow cannot open a database whose creation was killed.
    """
    check_not_lost()
    if DATABASE.exists():
        return
    with FileLock(DATABASE.with_name(f"{DATABASE.name}.lock")):
        if not DATABASE.exists():
            _create()


def _create() -> None:
    import mlflow

    beside = DATABASE.with_name(f"{DATABASE.name}.new")
    for file in DATABASE.parent.glob(f"{beside.name}*"):  # also a journal, which would be applied to another database
        file.unlink()
    store = mlflow.MlflowClient(f"sqlite:///{beside}")._tracking_client.store  # noqa: SLF001 - it holds the file open
    store.engine.dispose()
    beside.replace(DATABASE)


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
