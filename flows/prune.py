"""Prune: removes what params.yaml's retention does not keep. Run by hand (make prune) or every week.

By hand, it shows what it would remove, and removes it if told so. The weekly run removes only what the run of an
earlier week has shown, if that is still not needed.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.config import parameters
from flows.local.environment import REGISTRY
from flows.local.lock import DEPLOYED_SECONDS, flow_lock
from flows.local.logs import plain_errors
from flows.registry.ledger_owner import OtherLedgerError, locked_ledger
from flows.registry.run_summary import text_table
from flows.retention.leftovers import old_leftovers
from flows.retention.objects import collect, stored_locks
from flows.retention.plan import RetentionPlan, make_plan, registered_runs, runs_with_aliases
from flows.retention.removal import remove_from_mlflow
from tasks.core.files import read_json, remove, write_json
from tasks.reports.page import markdown_table

if TYPE_CHECKING:
    from flows.config.parameters import FlowParams

DAY_S = 24 * 3600
SHOWN_DAYS = 6  # from a weekly run that shows what it would remove to the one that removes it
COLUMNS = ("would be removed", "number", "which")
SHOWN = 8  # items of a list
GIB = 2**30

Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]


@flow(name="prune")
def prune() -> str:
    """Removes what an earlier week's run has shown, and shows what the next one will remove. Returns the summary."""
    plain_errors()
    params = parameters.load()
    try:
        with flow_lock(params.paths.state, "prune", wait=DEPLOYED_SECONDS):
            text = _weekly(params)
    except OtherLedgerError as error:  # another checkout manages this model
        text = str(error)
    get_run_logger().info(text)
    create_markdown_artifact(text, key="prune-result", description="What was removed, and what will be next week")
    return text


def _weekly(params: FlowParams) -> str:
    note, now = params.paths.state / "prune.json", time.time()
    shown: dict[str, Any] = read_json(note) if note.exists() else {}
    at = shown.get("at", math.inf)
    if at <= now < at + SHOWN_DAYS * DAY_S:  # shown less than a week ago
        return f"nothing was removed: it is shown a week before\n\n{show(params, markdown_table)}"
    try:
        lines = carry_out(params, only=set(shown["ids"])) if at <= now else ["nothing was removed: it is shown first"]
    finally:
        write_json(note, {"at": now, "ids": sorted(_plan(params).ids())})
    return "\n\n".join([*lines, show(params, markdown_table)])


def show(params: FlowParams, table_of: Table = text_table) -> str:
    """Returns a table of what would be removed, and what is kept for which reason."""
    plan, leftovers = _plan(params), old_leftovers(params.paths, _cutoff(params))
    items = {
        "versions and copies": [f"{each.name} {each.version}" for each in plan.versions],
        "runs": [str(each.info.run_name) for each in plan.runs],
        "files in .state": [path.name for path in leftovers],
    }
    rows = [[what, str(len(names)), _listed(names)] for what, names in items.items()]
    kept = "\n".join(f"kept: version {number}, {reason}" for number, reason in list(plan.kept.items())[:SHOWN])
    kept += f"\nkept: {len(plan.kept) - SHOWN} more versions" if len(plan.kept) > SHOWN else ""
    rest = "also: data in DVC's cache and remote that no kept version, branch, tag, stash or checkout needs"
    return f"{table_of(COLUMNS, rows)}\n\n{rest}\n\n{kept or 'no version is registered'}"


def carry_out(params: FlowParams, *, shared: bool = False, only: set[str] | None = None) -> list[str]:
    """Removes what the retention does not keep; of versions and runs, `only` these. Returns what was done, by line.

    Raises RootstockError if another ledger owns the model, or, before anything is removed, if nothing tells which data
    a kept version needs.
    """
    before, plan = shutil.disk_usage(REGISTRY).free, _plan(params)
    plan = plan if only is None else plan.only(only)
    stored_locks(registered_runs() - {each.info.run_id for each in plan.runs})  # an error now, not halfway
    failures = remove_from_mlflow(plan, params.register_.model)
    leftovers = old_leftovers(params.paths, _cutoff(params))
    for path in leftovers:
        remove(path)
    locks, with_aliases = stored_locks(registered_runs()), stored_locks(runs_with_aliases())
    lines = collect(locks, shared=shared, with_aliases=with_aliases)
    freed = (shutil.disk_usage(REGISTRY).free - before) / GIB
    removed = f"removed: {len(plan.versions)} versions, {len(plan.runs) - len(failures)} runs, {len(leftovers)} files"
    return [removed, *failures, *lines, f"{max(freed, 0.0):.2f} GiB more are free"]


def _plan(params: FlowParams) -> RetentionPlan:
    with locked_ledger(params.register_.model, None) as ledger:
        return make_plan(params, ledger, int(time.time() * 1000))


def _cutoff(params: FlowParams) -> float:
    return time.time() - params.retention.keep_days * DAY_S


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return f"{shown}, ..." if len(names) > SHOWN else shown
