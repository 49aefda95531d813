"""A Prefect server for one flow: on loopback, without UI or scheduler. It exits with the process that started it.

That process chooses the auth string and passes it on in PREFECT_SERVER_API_AUTH_STRING.
"""

from __future__ import annotations

import os
import sys

from flows.local.auth import SERVER_VARIABLE
from flows.local.guard import Guard
from flows.local.server import run
from tasks.core import interpreter
from tasks.core.supervision import exit_at_end_of_input


def serve(port: int) -> int:
    """Serves until the process is terminated. Returns exit code 0."""
    os.environ |= {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1"}
    exit_at_end_of_input()
    from prefect.server.api.server import create_app

    run(Guard(create_app(final=True)), port, log_level="error")
    return 0


if __name__ == "__main__":
    if not os.environ.get(SERVER_VARIABLE):
        sys.exit(f"{SERVER_VARIABLE} is not set: without it, any program on this machine could run commands here")
    interpreter.run(lambda: serve(int(sys.argv[1])))
