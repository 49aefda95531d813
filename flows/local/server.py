"""A long-lived server, Prefect's or MLflow's, behind the guard: python -m flows.local.server mlflow 5000 [--shared].

Each runs in this one process, as its own command would run it, with the guard in front of the application.
"""

from __future__ import annotations

import argparse
import os
from typing import Any
from uuid import uuid4

import uvicorn

from flows.local import auth
from flows.local.database import prepare
from flows.local.environment import LOCAL_DATABASE, REGISTRY
from flows.local.guard import LOOPBACK_HOSTS, App, Guard, more_hosts
from flows.local.login import Login
from tasks.core import interpreter

HOST = "127.0.0.1"
STOP_SECONDS = 10  # after which open connections, such as a page's websocket, no longer delay the end
ARTIFACTS = "mlflow-artifacts:/"  # clients send artifacts through the server
ASSISTANT = "/ajax-api/3.0/mlflow/assistant"  # starts coding agents, with their tools, for any caller on this machine


def run(app: App, port: int, **options: Any) -> None:  # noqa: ANN401 - uvicorn's options
    """Serves an application on loopback until the process is terminated."""
    interpreter.end_of_imports()
    uvicorn.run(
        app, host=HOST, port=port, lifespan="on", access_log=False, timeout_graceful_shutdown=STOP_SECONDS, **options
    )


def prefect(port: int) -> None:
    """Runs Prefect's server with its pages and all services, as `prefect server start` does."""
    os.environ[auth.SERVER_VARIABLE] = auth.read()
    os.environ.pop("PREFECT_API_URL", None)  # it may be another server's
    os.environ.setdefault("PREFECT_SERVER_UI_API_URL", "/api")  # the pages ask the address that they come from
    from prefect.server.api.server import create_app
    from prefect.settings import get_current_settings

    settings = get_current_settings().server.api
    run(
        Guard(create_app(final=True), more_hosts()),
        port,
        log_level="warning",
        timeout_keep_alive=settings.keepalive_timeout,
        ws_ping_interval=settings.websocket_ping_interval,
        ws_ping_timeout=settings.websocket_ping_timeout,
    )


def mlflow(port: int, *, shared: bool) -> None:
    """Runs MLflow's server on the local database, as `mlflow server` does."""
    hosts = more_hosts()
    if hosts:
        _allow(hosts)
    prepare()
    _configure()
    from mlflow.server.fastapi_app import app
    from mlflow.server.handlers import initialize_backend_stores

    initialize_backend_stores(LOCAL_DATABASE, LOCAL_DATABASE, ARTIFACTS)
    run(
        Guard(Login(app, auth.read()) if shared else app, hosts, closed=(ASSISTANT,)),
        port,
        log_level="warning",
    )


def _configure() -> None:
    """Sets the variables by which `mlflow server` tells its worker processes what to serve."""
    from mlflow import environment_variables as variables
    from mlflow.server import constants

    os.environ |= {
        constants.BACKEND_STORE_URI_ENV_VAR: LOCAL_DATABASE,
        constants.REGISTRY_STORE_URI_ENV_VAR: LOCAL_DATABASE,
        constants.ARTIFACT_ROOT_ENV_VAR: ARTIFACTS,
        constants.ARTIFACTS_DESTINATION_ENV_VAR: str(REGISTRY / "artifacts"),
        constants.SERVE_ARTIFACTS_ENV_VAR: "true",
        variables._MLFLOW_SERVER_BOOT_ID.name: uuid4().hex,  # noqa: SLF001 - the command sets these three, too
        variables._MLFLOW_IN_JOB_EXECUTOR.name: "false",  # noqa: SLF001
        variables._MLFLOW_SGI_NAME.name: "uvicorn",  # noqa: SLF001
    }


def _allow(hosts: list[str]) -> None:
    """Lets MLflow's own check of hosts and origins, which stays on behind the guard, accept these names.

    MLflow reads the variables when mlflow.server is imported.
    """
    names = [*LOOPBACK_HOSTS, *hosts]
    allowed = [*names, *(f"{name.replace('[', '[[]')}:*" for name in names)]  # patterns, as of a shell
    origins = [f"{scheme}://{name}" for name in allowed for scheme in ("http", "https")]
    os.environ.setdefault("MLFLOW_SERVER_ALLOWED_HOSTS", ",".join(allowed))
    os.environ.setdefault("MLFLOW_SERVER_CORS_ALLOWED_ORIGINS", ",".join(origins))


def main() -> int:
    """Runs the server that the command line names. Returns exit code 0."""
    parser = argparse.ArgumentParser(prog="python -m flows.local.server", description=__doc__)
    parser.add_argument("name", choices=("prefect", "mlflow"))
    parser.add_argument("port", type=int)
    parser.add_argument("--shared", action="store_true", help="MLflow asks for a login")
    options = parser.parse_args()
    if options.name == "prefect":
        prefect(options.port)
    else:
        mlflow(options.port, shared=options.shared)
    return 0


if __name__ == "__main__":
    interpreter.run(main)
