"""The MLflow store of runs and models at MLFLOW_TRACKING_URI: a server or a database."""

from __future__ import annotations

import logging
import os
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from flows.local.database import prepare
from flows.local.environment import DATABASE, LOCAL_DATABASE
from tasks.core.errors import RootstockError

if TYPE_CHECKING:
    from mlflow import MlflowClient

VARIABLE = "MLFLOW_TRACKING_URI"
SECONDS = 10  # time limit, in seconds, for a server's first response; MLflow itself would retry for five minutes
PROBE = "/api/2.0/mlflow/experiments/search"  # unlike /health, it asks for credentials
CREDENTIALS = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
REFUSALS = {
    HTTPStatus.UNAUTHORIZED: f"does not know who asks (401): set {CREDENTIALS}",
    HTTPStatus.FORBIDDEN: (
        f"refuses access (403): set {CREDENTIALS} of someone who may read and write experiments and models; a server "
        "that knows itself by another name must be started with --allowed-hosts"
    ),
}
REMEDY = "correct it, or unset the variable to use a local database"


def client() -> MlflowClient:
    """Returns a client for the store. Raises RootstockError if the store cannot be opened."""
    import mlflow
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    uri = os.environ[VARIABLE]
    _check_server(uri)
    try:
        if uri == LOCAL_DATABASE:
            prepare()
        mlflow.set_tracking_uri(uri)
        return mlflow.MlflowClient()
    except (mlflow.exceptions.MlflowException, ImportError, SQLAlchemyError) as error:
        reason = str(error).strip().partition("\n")[0].replace(uri, "that")  # the URI may contain a password
        if uri == LOCAL_DATABASE:
            message = f"{DATABASE} cannot be opened: {reason}; restore it from a backup"
            raise RootstockError(message, key="mlflow-database") from None
        raise RootstockError(f"{VARIABLE} cannot be opened: {reason}; {REMEDY}", key=VARIABLE) from None


@cache
def _check_server(uri: str) -> None:
    """Raises RootstockError if the URI is malformed, or if its server does not respond or refuses access."""
    try:
        parts = urlsplit(uri)
        address, is_server = f"{parts.hostname}:{parts.port or parts.scheme}", parts.scheme in {"http", "https"}
    except ValueError:  # the error's text may contain part of the password
        raise RootstockError(f"{VARIABLE} is no address such as http://host:port; {REMEDY}", key=VARIABLE) from None
    if not is_server:
        return
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        credentials = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
        response = http_request(  # type: ignore[no-untyped-call]
            credentials, PROBE, "GET", params={"max_results": 1}, max_retries=1, timeout=SECONDS
        )
    except MlflowException:
        raise RootstockError(f"{VARIABLE}: no answer from {address}; {REMEDY}", key=VARIABLE) from None
    if response.status_code in REFUSALS:
        raise RootstockError(f"{VARIABLE}: {address} {REFUSALS[response.status_code]}", key=VARIABLE)
