"""Prune: removes what params.yaml's retention does not keep. Run by hand (make prune) or every week.

By hand, it shows what it would remove, and removes it if told so. The weekly run removes only what the run of an
earlier week has shown, if that is still not needed.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from flows.config import parameters
from flows.local.environment import REGISTRY
from flows.local.lock import flow_lock
from flows.local.logs import plain_errors
from flows.registry.ledger_owner import OtherLedgerError, locked_ledger
from flows.registry.run_summary import text_table
from flows.retention.leftovers import old_leftovers, remove_all
from flows.retention.objects import collect
from flows.retention.plan import DAY_MS, make_plan, registered_runs
from flows.retention.removal import remove
from flows.stages import dvc_versions
from tasks.core.files import read_json, write_json
from tasks.reports.page import markdown_table

if TYPE_CHECKING:
    from flows.config.parameters import FlowParams

LOCK_SECONDS = 4 * 3600.0  # longest wait of the weekly run; one started by hand fails at once
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
        with flow_lock(params.paths.state, "prune", wait=LOCK_SECONDS):
            text = _weekly(params)
    except OtherLedgerError as error:  # another checkout manages this model
        text = str(error)
    get_run_logger().info(text)
    create_markdown_artifact(text, key="prune-result", description="What was removed, and what will be next week")
    return text


def _weekly(params: FlowParams) -> str:
    note = params.paths.state / "prune.json"
    shown: dict[str, Any] = read_json(note) if note.exists() else {"at": 0.0, "ids": []}
    lines = ["nothing was removed: it is shown a week before"]
    if time.time() - shown["at"] >= SHOWN_DAYS * DAY_MS / 1000:
        lines = carry_out(params, only=set(shown["ids"]))
        with locked_ledger(params.register_.model, None) as ledger:
            plan = make_plan(params, ledger, _now_ms())
        write_json(note, {"at": time.time(), "ids": sorted(plan.ids())})
    return "\n\n".join([*lines, show(params, markdown_table)])


def show(params: FlowParams, table_of: Table = text_table) -> str:
    """Returns a table of what would be removed, and what is kept for which reason."""
    with locked_ledger(params.register_.model, None) as ledger:
        plan = make_plan(params, ledger, _now_ms())
    leftovers = old_leftovers(params.paths, dvc_versions.cache_folder(), _cutoff(params))
    items = {
        "versions and copies": [f"{each.name} {each.version}" for each in plan.versions],
        "runs": [str(each.info.run_name) for each in plan.runs],
        "files in .state and DVC's run cache": [path.name for path in leftovers],
    }
    rows = [[what, str(len(names)), _listed(names)] for what, names in items.items()]
    kept = "\n".join(f"kept: version {number}, {reason}" for number, reason in list(plan.kept.items())[:SHOWN])
    kept += f"\nkept: {len(plan.kept) - SHOWN} more versions" if len(plan.kept) > SHOWN else ""
    rest = "also: data in DVC's cache and remote that no kept version, branch, tag or checkout needs"
    return f"{table_of(COLUMNS, rows)}\n\n{rest}\n\n{kept or 'no version is registered'}"


def carry_out(params: FlowParams, *, shared: bool = False, only: set[str] | None = None) -> list[str]:
    """Removes what the retention does not keep; of versions and runs, `only` these. Returns what was done, by line.

    Raises RootstockError if another ledger owns the model, or if nothing tells which data a kept version needs.
    """
    before = shutil.disk_usage(REGISTRY).free
    with locked_ledger(params.register_.model, None) as ledger:  # no release happens meanwhile
        plan = make_plan(params, ledger, _now_ms())
        plan = plan if only is None else plan.only(only)
        remove(plan)
        kept_runs = registered_runs(params.register_.model)
    leftovers = old_leftovers(params.paths, dvc_versions.cache_folder(), _cutoff(params))
    remove_all(leftovers)
    lines = collect(kept_runs, shared=shared)
    freed = (shutil.disk_usage(REGISTRY).free - before) / GIB
    removed = f"removed: {len(plan.versions)} versions, {len(plan.runs)} runs, {len(leftovers)} files"
    return [removed, *lines, f"{max(freed, 0.0):.2f} GiB more are free"]


def _cutoff(params: FlowParams) -> float:
    return time.time() - params.retention.keep_days * DAY_MS / 1000


def _now_ms() -> int:
    return int(time.time() * 1000)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:SHOWN])
    return f"{shown}, ..." if len(names) > SHOWN else shown
