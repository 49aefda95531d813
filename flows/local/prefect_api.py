"""Which Prefect server a flow uses: the one that the user names, the one of make up, or a temporary one."""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
from collections.abc import Callable

from flows.local import auth
from flows.local.processes import stop
from flows.local.respawn import Respawned
from flows.local.servers import HOST, free_port, is_healthy, log, running, wait_until_healthy
from tasks.core.errors import RootstockError


def prefect_api() -> Callable[[], None]:
    """Sets PREFECT_API_URL if it is unset: to the server started by `up` if healthy, else to a new temporary server.

    Returns a function that waits until the server responds, so that the caller can import modules meanwhile. Call this
    before importing prefect, which reads the address at import; prefect's exit handlers then run before the server
    stops, so its last log lines arrive. Only a server of ours gets our auth string.
    """
    if "PREFECT_API_URL" in os.environ:
        return _check_reachable
    server = running().get("prefect")
    if server and is_healthy("prefect", server["url"]):
        os.environ |= auth.prefect_variables(f"{server['url']}/api", auth.read())
        return lambda: None
    string = auth.new_string()
    port = free_port(0)
    url, temporary = f"http://{HOST}:{port}", Respawned(lambda: _temporary(port, string))
    atexit.register(temporary.stop, stop)
    os.environ |= auth.prefect_variables(f"{url}/api", string)
    return lambda: wait_until_healthy("prefect", url, temporary.is_alive)


def _check_reachable() -> None:
    """Raises RootstockError if the server at PREFECT_API_URL is down, refuses us, or has another major version."""
    from prefect.client.orchestration import get_client
    from prefect.exceptions import PrefectHTTPStatusError

    try:
        with get_client(sync_client=True) as client:
            client.raise_for_api_version_mismatch()
    except PrefectHTTPStatusError as error:
        raise RootstockError(
            f"PREFECT_API_URL: the server answered {error.response.status_code}; if it asks for a login, set"
            f' {auth.CLIENT_VARIABLE}: eval "$(make -s env)" does for the servers of make up',
            key="PREFECT_API_URL",
        ) from None
    except RuntimeError as error:
        raise RootstockError(
            f"PREFECT_API_URL: {error}; start that server, or unset the variable to use a local one",
            key="PREFECT_API_URL",
        ) from None


def _temporary(port: int, string: str) -> subprocess.Popen[bytes]:
    """Starts a Prefect server that exits with this process, which holds the other end of its standard input pipe."""
    command = [sys.executable, "-m", "flows.local.temporary_server", str(port)]
    env = {**os.environ, auth.SERVER_VARIABLE: string}
    with log("prefect-temporary") as file:
        return subprocess.Popen(
            command, env=env, stdin=subprocess.PIPE, stdout=file, stderr=file, start_new_session=True
        )
