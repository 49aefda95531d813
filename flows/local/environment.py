"""Default settings for Prefect, MLflow and DVC: folders, and telemetry off. Variables already set are kept."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from flows.local.credentials import separate_credentials
from flows.local.relocation import relocate
from tasks.core.files import make_private

CHECKOUT = Path(__file__).resolve().parents[2]
REGISTRY = (CHECKOUT / ".registry").resolve()  # in a worktree, the main checkout's registry


def main_checkout_of(checkout: Path) -> Path:
    """Returns a worktree's main checkout, found through its `.registry` link; any other checkout is its own."""
    link = checkout / ".registry"
    main = link.readlink().parent if link.is_symlink() else checkout  # .registry may instead be a link to another disk
    return main if checkout.is_relative_to((main / ".state" / "worktrees").resolve()) else checkout


MAIN_CHECKOUT = main_checkout_of(CHECKOUT)  # relative paths in params.yaml start here
DATABASE = REGISTRY / "mlflow.db"
LOCAL_DATABASE = f"sqlite:///{DATABASE}"
LOOPBACK = ("127.0.0.1", "localhost")
FLOW_RUN_DAYS = 30  # after which Prefect's server removes a flow run, its logs and artifacts
SERVERS = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_URI")


def set_defaults() -> None:
    """Sets variables that are unset. Call this before importing prefect or mlflow, which read them at import."""
    make_private(REGISTRY)
    (REGISTRY / "prefect").mkdir(exist_ok=True)
    relocate(REGISTRY, DATABASE)
    for name in SERVERS:
        if os.environ.get(name) == "":  # CI passes unconfigured variables as empty strings
            del os.environ[name]
    separate_credentials(REGISTRY)
    for name, value in _defaults().items():
        os.environ.setdefault(name, value)
    no_proxy = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    if no_proxy != "*":  # matches every host, but only on its own
        for name in ("no_proxy", "NO_PROXY"):  # a proxy cannot reach our servers on loopback
            os.environ[name] = ",".join(dict.fromkeys([*filter(None, no_proxy.split(",")), *LOOPBACK]))
    binaries = str(Path(sys.executable).parent)
    if binaries not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([binaries, os.environ["PATH"]])


def _defaults() -> dict[str, str]:
    return {
        "PREFECT_HOME": str(REGISTRY / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # By default, leases are kept in memory: a restarted server would forget who holds a slot and never free it.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        # Without these, a server keeps every flow run for ever.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(FLOW_RUN_DAYS * 24 * 3600),
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",  # eight more processes, for jobs that Rootstock does not use
        "MLFLOW_TRACKING_URI": LOCAL_DATABASE,
        "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": "%(message)s",
        "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": "%(task_run_name)-9s| %(message)s",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_STREAM": "ext://sys.stdout",
    }
