"""Flow runs that a killed process has left Running in Prefect: the next flow of the checkout ends them."""

from __future__ import annotations

import logging
import os
from contextlib import suppress
from pathlib import Path
from uuid import UUID

import httpx
import psutil
from prefect.client.orchestration import get_client
from prefect.exceptions import PrefectException
from prefect.runtime import flow_run
from prefect.states import Crashed

from tasks.core.files import read_json, write_json

NOTE = "flow_run.json"  # the last flow run of this checkout, and the process that it was in


def end_leftover(state: Path) -> None:
    """Ends the last flow run of this checkout as Crashed if its process is gone but Prefect takes it for running.

    Call this in a flow that holds the checkout's lock. If Prefect does not answer, nothing is done.
    """
    note = state / NOTE
    with suppress(OSError, ValueError, LookupError, TypeError):  # there is no note, or it is damaged
        before = read_json(note)
        run, pid = UUID(before["flow_run"]), int(before["pid"])
        if str(run) != flow_run.get_id() and not psutil.pid_exists(pid):
            _end(run)
    write_json(note, {"flow_run": flow_run.get_id(), "pid": os.getpid()})


def _end(run: UUID) -> None:
    try:
        with get_client(sync_client=True) as client:
            state = client.read_flow_run(run).state
            if state and not state.is_final():
                client.set_flow_run_state(run, Crashed(message="its process was killed"), force=True)
    except (PrefectException, httpx.HTTPError) as error:  # such as another server, which has no such run
        logging.getLogger(__name__).info("the last flow run is left as it is: %s", error)
