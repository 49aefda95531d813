"""A Prefect server for one flow: on loopback, without UI or scheduler. It exits with the process that started it."""

from __future__ import annotations

import os
import sys

import uvicorn

from tasks.core.supervision import exit_at_end_of_input

if __name__ == "__main__":
    os.environ |= {"PREFECT_UI_ENABLED": "0", "PREFECT__SERVER_EPHEMERAL": "1", "PREFECT__SERVER_FINAL": "1"}
    exit_at_end_of_input()
    app = "prefect.server.api.server:create_app"
    uvicorn.run(app, factory=True, host="127.0.0.1", port=int(sys.argv[1]), log_level="error", lifespan="on")
