"""The secret of our servers: the string `user:password` in the registry's folder, which only its owner can read."""

from __future__ import annotations

import re
import secrets
from base64 import b64encode
from pathlib import Path

from flows.local import secret_file
from flows.local.environment import REGISTRY
from tasks.core.errors import RootstockError

FILE = REGISTRY / "auth-string"
USER = "rootstock"
FORM = re.compile(r"[^\s:]+:\S{16,}")
AGAIN = "delete it, then run make down and make up, which make a new one"
SERVER_VARIABLE, CLIENT_VARIABLE = "PREFECT_SERVER_API_AUTH_STRING", "PREFECT_API_AUTH_STRING"


def new_string() -> str:
    """Returns a new random string."""
    return f"{USER}:{secrets.token_urlsafe(32)}"


def ensure(file: Path = FILE) -> str:
    """Returns the string, which is made at the first call. Raises RootstockError if others may read the file."""
    if not file.exists():
        secret_file.create(file, new_string())
    return read(file)


def read(file: Path = FILE) -> str:
    """Returns the string. Raises RootstockError if it is missing or malformed, or if others may read or change it."""
    try:
        string = secret_file.read(file, "auth", AGAIN)
    except FileNotFoundError:
        raise RootstockError(f"{file} is missing: run make down, then make up, which makes it", key="auth") from None
    if not FORM.fullmatch(string):
        raise RootstockError(f"{file} holds no user:password of 16 or more characters; {AGAIN}", key="auth")
    return string


def basic(string: str) -> str:
    """Returns the value of the header Authorization for the string."""
    return f"Basic {b64encode(string.encode()).decode()}"


def prefect_variables(api: str, string: str) -> dict[str, str]:
    """Returns what Prefect's clients need to reach our server at this address."""
    return {"PREFECT_API_URL": api, CLIENT_VARIABLE: string}


def mlflow_variables(string: str) -> dict[str, str]:
    """Returns what MLflow's clients need besides the address, with `up.shared`."""
    user, _, password = string.partition(":")
    return {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}
