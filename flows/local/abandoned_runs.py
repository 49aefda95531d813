"""Flow runs that a worker has left open: make up ends those without a process before it starts the next worker."""

from __future__ import annotations

import sys
from contextlib import suppress

import psutil
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import FlowRun, StateType
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

OPEN = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
VARIABLE = "PREFECT__FLOW_RUN_ID"  # in the environment of a flow run's process


def end_abandoned(pool: str) -> list[str]:
    """Ends the pool's open flow runs whose process is gone as Crashed. Returns their names.

    The pool is for workers of this machine, and none of them may run: a flow run that was submitted, and has no process
    yet, gets none any more.
    """
    is_open = FlowRunFilterState(type=FlowRunFilterStateType(any_=OPEN))
    is_in_pool = WorkPoolFilter(name=WorkPoolFilterName(any_=[pool]))
    with get_client(sync_client=True) as client:
        runs = client.read_flow_runs(flow_run_filter=FlowRunFilter(state=is_open), work_pool_filter=is_in_pool)
        gone = [run for run in runs if not _has_process(run)]
        for run in gone:
            with suppress(ObjectNotFound):  # removed meanwhile
                client.set_flow_run_state(run.id, Crashed(message="its worker and its process ended"), force=True)
    return [run.name for run in gone]


def _has_process(run: FlowRun) -> bool:
    number = str(run.infrastructure_pid or "").rpartition(":")[2]  # Prefect writes it with or without the host's name
    with suppress(ValueError, psutil.Error):
        return psutil.Process(int(number)).environ().get(VARIABLE) == str(run.id)
    return False


if __name__ == "__main__":
    for name in end_abandoned(sys.argv[1]):
        print(f"the flow run {name} is Crashed: a worker had left it open")
