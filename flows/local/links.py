"""The link to the model's page in MLflow, and what to do next after the servers have been started.

Pages below Prefect's address cannot be opened directly: with current versions of FastAPI, Prefect 3.8 answers 404.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

MACHINE_LEARNING = "workflowType=machine_learning"  # otherwise MLflow opens its pages for language models
TIMEOUT = 10.0  # seconds


def model_page(mlflow: str, model: str | None) -> str:
    """Returns the address of a registered model's page, or of the list of models for None."""
    place = f"/{quote(model, safe='')}" if model else ""
    return f"{mlflow}/#/models{place}?{MACHINE_LEARNING}"


def is_registered(mlflow: str, model: str) -> bool:
    """Returns whether the MLflow server at this address has a registered model with this name."""
    try:
        with urlopen(  # noqa: S310 - a loopback address
            f"{mlflow}/api/2.0/mlflow/registered-models/get?name={quote(model, safe='')}", timeout=TIMEOUT
        ):
            return True
    except HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            raise
        return False


def next_steps(mlflow: str, model: str) -> str:
    """Returns the links to open, what to do next, and how to stop the servers, a line each."""
    exists = is_registered(mlflow, model)
    request = "in MLflow, set the alias champion on a version; if its verdict allows it, it is live within a minute"
    return "\n".join(
        [
            f"{'models':<12}{model_page(mlflow, model if exists else None)}",
            f"{'next':<12}{request if exists else 'make run registers the first version'}",
            f"{'stop':<12}make down",
        ]
    )
