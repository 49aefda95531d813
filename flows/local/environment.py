"""Where Prefect, MLflow and DVC find their folders, with telemetry off; what the user has set is left alone."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from flows.local.relocation import settle

ROOT = Path(__file__).resolve().parents[2]
REGISTRY = (ROOT / ".registry").resolve()  # in a worktree, the main checkout's


def main_of(root: Path) -> Path:
    """The main checkout of a worktree, where its `.registry` leads; of any other checkout it is that itself."""
    link = root / ".registry"
    main = link.readlink().parent if link.is_symlink() else root  # a person may have put .registry on another disk
    return main if root.is_relative_to((main / ".state" / "worktrees").resolve()) else root


HOME = main_of(ROOT)  # what params.yaml names by a relative path lies there
DATABASE = REGISTRY / "mlflow.db"
OWN_DATABASE = f"sqlite:///{DATABASE}"
LOOPBACK = ("127.0.0.1", "localhost")
SERVERS = ("PREFECT_API_URL", "PREFECT_API_AUTH_STRING", "MLFLOW_TRACKING_URI")


def set_defaults() -> None:
    """Sets what is not set. Must run before prefect or mlflow is imported, since they read it then."""
    (REGISTRY / "prefect").mkdir(parents=True, exist_ok=True)
    settle(REGISTRY, DATABASE)
    for name in SERVERS:
        if os.environ.get(name) == "":  # as CI leaves what is not configured
            del os.environ[name]
    for name, value in _defaults().items():
        os.environ.setdefault(name, value)
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY", "")
    if direct != "*":  # it stands for all, and must stand alone
        for name in ("no_proxy", "NO_PROXY"):  # a proxy knows nothing of our servers on loopback
            os.environ[name] = ",".join(dict.fromkeys([*filter(None, direct.split(",")), *LOOPBACK]))
    binaries = str(Path(sys.executable).parent)
    if binaries not in os.environ["PATH"].split(os.pathsep):
        os.environ["PATH"] = os.pathsep.join([binaries, os.environ["PATH"]])


def _defaults() -> dict[str, str]:
    return {
        "PREFECT_HOME": str(REGISTRY / "prefect"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        # In memory, a server that restarts would forget who holds a slot, and never free it.
        "PREFECT_SERVER_CONCURRENCY_LEASE_STORAGE": "prefect.server.concurrency.lease_storage.filesystem",
        "DO_NOT_TRACK": "1",
        "DVC_NO_ANALYTICS": "1",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
        "MLFLOW_TRACKING_URI": OWN_DATABASE,
        "PREFECT_LOGGING_FORMATTERS_STANDARD_FLOW_RUN_FMT": "%(message)s",
        "PREFECT_LOGGING_FORMATTERS_STANDARD_TASK_RUN_FMT": "%(task_run_name)-9s| %(message)s",
        "PREFECT_LOGGING_HANDLERS_CONSOLE_STREAM": "ext://sys.stdout",
    }
