"""Final removal of runs and logged models, which only MLflow's stores in databases can do.

`mlflow gc` cannot be used: together with the runs that it is told to remove, it removes every deleted experiment. So
the methods that it uses are called here.
"""

from __future__ import annotations

from typing import Any

from flows.registry.store import client


def can_remove_for_good() -> bool:
    """Returns whether the store is a database; a server only marks runs as deleted."""
    return hasattr(_store(), "_hard_delete_run")


def remove_run(run_id: str) -> None:
    """Removes a run's entry, or marks it as deleted."""
    if can_remove_for_good():
        _store()._hard_delete_run(run_id)  # noqa: SLF001
    else:
        client().delete_run(run_id)


def remove_logged_model(model_id: str) -> None:
    """Removes the entry of a logged model, or marks it as deleted."""
    if can_remove_for_good():
        _store()._hard_delete_logged_model(model_id)  # noqa: SLF001
    else:
        client().delete_logged_model(model_id)


def _store() -> Any:  # noqa: ANN401 - its class depends on the address
    return client()._tracking_client.store  # noqa: SLF001
