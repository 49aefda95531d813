"""How uvicorn serves the front and the workers."""

from __future__ import annotations

from typing import Any

KEEP_ALIVE_FRONT = 15  # seconds after an answer; shorter than those of balancers, which close first
KEEP_ALIVE_WORKER = 75  # longer than those of the front's connections, so that it closes first
STOP_SECONDS = 5  # for requests in work, before the process ends
OPTIONS: dict[str, Any] = {
    "http": "h11",  # strict about what a request is
    "ws": "none",
    "lifespan": "off",
    "loop": "asyncio",
    "log_level": "warning",
    "access_log": False,
    "server_header": False,
    "proxy_headers": False,
    "timeout_graceful_shutdown": STOP_SECONDS,
}
