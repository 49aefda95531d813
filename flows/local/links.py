"""The link to the model's page in MLflow, and what to do next after the servers have been started.

Pages below Prefect's address cannot be opened directly: with current versions of FastAPI, Prefect 3.8 answers 404.
"""

from __future__ import annotations

from http import HTTPStatus
from urllib.error import HTTPError
from urllib.parse import quote
from urllib.request import Request, urlopen

from flows.local.auth import FILE, basic
from flows.local.login import new_link

MACHINE_LEARNING = "workflowType=machine_learning"  # otherwise MLflow opens its pages for language models
TIMEOUT = 10.0  # seconds


def model_page(mlflow: str, model: str | None) -> str:
    """Returns the address of a registered model's page, or of the list of models for None."""
    place = f"/{quote(model, safe='')}" if model else ""
    start = mlflow if "?" in mlflow else f"{mlflow}/"
    return f"{start}#/models{place}?{MACHINE_LEARNING}"


def is_registered(mlflow: str, model: str, string: str) -> bool:
    """Returns whether our MLflow server at this address has a registered model with this name."""
    address = f"{mlflow}/api/2.0/mlflow/registered-models/get?name={quote(model, safe='')}"
    try:
        with urlopen(Request(address, headers={"Authorization": basic(string)}), timeout=TIMEOUT):  # noqa: S310 - http
            return True
    except HTTPError as error:
        if error.code != HTTPStatus.NOT_FOUND:
            raise
        return False


def next_steps(mlflow: str, model: str, string: str, *, shared: bool) -> str:
    """Returns the links to open, what to do next, and how to stop the servers, a line each.

    If `shared`, the link to MLflow also logs a browser in, once.
    """
    exists = is_registered(mlflow, model, string)
    address = new_link(mlflow) if shared else mlflow
    request = "in MLflow, set the alias champion on a version; if its verdict allows it, it is live within a minute"
    lines = {
        "models": model_page(address, model if exists else None) + (" (works once)" if shared else ""),
        "password": f"{FILE}, for Prefect's page; make env gives it to your own commands",
        "next": request if exists else "make run registers the first version",
        "stop": "make down",
    }
    return "\n".join(f"{name:<12}{line}" for name, line in lines.items())
