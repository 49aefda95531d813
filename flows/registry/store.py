"""The store of runs and models that MLFLOW_TRACKING_URI names: a server, or a database."""

from __future__ import annotations

import logging
import os
from functools import cache
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tasks.core.errors import RootstockError

if TYPE_CHECKING:
    from mlflow import MlflowClient

SECONDS = 10  # that a server may take to answer at first; MLflow itself would try for five minutes
REMEDY = "mend it, or unset the variable for a database of our own"


def client() -> MlflowClient:
    """Returns a client of the store. Raises RootstockError if it cannot be opened."""
    import mlflow
    from sqlalchemy.exc import SQLAlchemyError

    logging.getLogger("mlflow").setLevel(logging.WARNING)
    uri = os.environ["MLFLOW_TRACKING_URI"]
    _ask(uri)
    try:
        mlflow.set_tracking_uri(uri)
        return mlflow.MlflowClient()
    except (mlflow.exceptions.MlflowException, ImportError, SQLAlchemyError) as error:
        reason = str(error).strip().replace(uri, "that")  # which may hold a password
        raise RootstockError(f"MLFLOW_TRACKING_URI cannot be opened: {reason}; {REMEDY}") from None


@cache
def _ask(uri: str) -> None:
    """Raises RootstockError if it is a server that does not answer."""
    try:
        place = urlsplit(uri)
        at, server = f"{place.hostname}:{place.port or place.scheme}", place.scheme in {"http", "https"}
    except ValueError:  # whose text may hold a part of the password
        raise RootstockError(f"MLFLOW_TRACKING_URI is no address such as http://host:port; {REMEDY}") from None
    if not server:
        return
    from mlflow.exceptions import MlflowException
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    try:
        credentials = get_default_host_creds(uri)  # type: ignore[no-untyped-call]
        http_request(credentials, "/health", "GET", max_retries=1, timeout=SECONDS)  # type: ignore[no-untyped-call]
    except MlflowException:
        raise RootstockError(f"MLFLOW_TRACKING_URI: no answer from {at}; {REMEDY}") from None
