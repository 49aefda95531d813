"""Says in one sentence, before deploy/ci/trigger.sh waits for anything, why a Prefect server cannot be used."""

from __future__ import annotations

import os
import sys

from flows.local.prefect_api import prefect_api
from tasks.core.errors import RootstockError


def check() -> None:
    """Raises RootstockError unless PREFECT_API_URL names a server that answers."""
    if "PREFECT_API_URL" not in os.environ:  # an empty one is removed when flows is imported
        raise RootstockError(
            "PREFECT_API_URL is not set: it names the server whose worker retrains, such as "
            "http://prefect.example:4200/api; without a server, use deploy/ci/run.sh",
            key="PREFECT_API_URL",
        )
    prefect_api()()


def main() -> int:
    """Returns 0 if the server can be used, and otherwise prints why not."""
    try:
        check()
    except RootstockError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
