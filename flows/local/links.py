"""Links to pages of the Prefect and MLflow servers, and what to do next after they have been started."""

from __future__ import annotations

from http import HTTPStatus
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import urlopen

MACHINE_LEARNING = "workflowType=machine_learning"  # otherwise MLflow opens its pages for language models
TIMEOUT = 10.0  # seconds


def runs_page(prefect: str) -> str:
    """Returns the address of the list of flow runs."""
    return f"{prefect}/runs"


def deployments_page(prefect: str) -> str:
    """Returns the address of the list of deployments."""
    return f"{prefect}/deployments"


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


def next_steps(prefect: str, mlflow: str, model: str) -> str:
    """Returns the links to open, what to do next, and how to stop the servers, a line each."""
    exists = is_registered(mlflow, model)
    request = "in MLflow, set the alias champion on a version; if its verdict allows it, it is live within a minute"
    return "\n".join(
        [
            f"{'models':<12}{model_page(mlflow, model if exists else None)}",
            f"{'deployments':<12}{deployments_page(prefect)}",
            f"{'next':<12}{request if exists else 'make run registers the first version'}",
            f"{'stop':<12}make down",
        ]
    )
