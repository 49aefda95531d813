"""Release: makes a requested version live if the gate's verdict allows it. Run by the watcher or by hand.

A person requests a version by setting the alias `champion` on it, or with MLflow's "Promote model" button, which copies
the version to the registered model <name>-production. Only this flow moves the alias `live`.
"""

from __future__ import annotations

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.config import parameters
from flows.local.logs import plain_errors
from flows.registry.ledger_lines import describe
from flows.registry.ledger_owner import OtherLedgerError
from flows.registry.promotion import reconcile, roll_back

NOTHING = "nothing to release: there is no pending request"


@flow(name="release")
def release() -> str:
    """Handles pending promotion requests. Returns one line per request."""
    plain_errors()
    params = parameters.load()
    log = get_run_logger()
    try:
        entries = reconcile(params.register_.model, person_decides=params.gate.person_decides)
    except OtherLedgerError as error:  # another checkout manages this model's releases
        log.info(str(error))
        return str(error)
    lines = [describe(entry) for entry in entries]
    for line in lines:
        log.info(line)
    if lines:
        create_markdown_artifact("\n\n".join(lines), key="release-result", description="Outcome of promotion requests")
    return "\n".join(lines) or NOTHING


@flow(name="rollback")
def rollback() -> str:
    """Makes the previous live version live again. Raises RootstockError if there is none."""
    plain_errors()
    return describe(roll_back(parameters.load().register_.model))
