"""What a project's state is on disk: outputs, versions, runs, aliases, ledger; read without MLflow, DVC or Prefect."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

from flows.local.flow_runs import NOTE
from tasks.core.files import read_json, sha256_of
from tasks.core.schema import STAGES

MODEL = "rootstock"
OPEN = ("RUNNING", "PENDING", "CANCELLING")  # states of a Prefect flow run that somebody still works on


class Version(NamedTuple):
    """A model version with its tags."""

    number: int
    run: str
    tags: dict[str, str]


def query(database: Path, text: str, *values: object) -> list[tuple[Any, ...]]:
    """Returns the rows of a query; none if the database is missing, busy or no database."""
    if not database.exists():
        return []
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=rw", uri=True, timeout=5)) as connection:
            return connection.execute(text, values).fetchall()
    except sqlite3.Error:
        return []


def mlflow_database(root: Path) -> Path:
    return root / ".registry" / "mlflow.db"


def versions(database: Path) -> list[Version]:
    """Returns the versions of the model, oldest first."""
    rows = query(
        database,
        "SELECT v.version, v.run_id, t.key, t.value FROM model_versions v LEFT JOIN model_version_tags t "
        "ON t.name = v.name AND t.version = v.version WHERE v.name = ? AND v.current_stage != 'Deleted_Internal' "
        "ORDER BY v.version",
        MODEL,
    )
    tags: dict[tuple[int, str], dict[str, str]] = {}
    for number, run, key, value in rows:
        tags.setdefault((int(number), str(run)), {}).update({key: value} if key else {})
    return [Version(number, run, of) for (number, run), of in tags.items()]


def copies(database: Path) -> int:
    """Returns the number of promoted copies."""
    return len(query(database, "SELECT 1 FROM model_versions WHERE name = ?", f"{MODEL}-production"))


def aliases(database: Path) -> dict[str, str]:
    """Returns the number of the version of each alias."""
    rows = query(database, "SELECT alias, version FROM registered_model_aliases WHERE name = ?", MODEL)
    return {alias: str(number) for alias, number in rows}


def runs(database: Path) -> dict[str, str]:
    """Returns the status of each MLflow run."""
    return dict(query(database, "SELECT run_uuid, status FROM runs WHERE lifecycle_stage = 'active'"))


def open_flow_runs(database: Path) -> dict[str, str]:
    """Returns the flow runs, by ID, that Prefect takes for running."""
    rows = query(database, "SELECT id, name, state_type FROM flow_run WHERE state_type IN (?, ?, ?)", *OPEN)
    return {str(number): f"{name} {state}" for number, name, state in rows}


def flow_run(root: Path) -> str | None:
    """Returns the ID of the checkout's last flow run, or None if it is not noted."""
    try:
        return str(read_json(root / ".state" / NOTE)["flow_run"])
    except (OSError, ValueError, LookupError, TypeError):
        return None


def ledger_file(root: Path) -> Path:
    """Returns the ledger of the local database."""
    return root / ".registry" / "ledger" / f"{MODEL}-own.jsonl"


def ledger(root: Path) -> list[dict[str, Any]]:
    """Returns the complete lines of the ledger, up to the first that is damaged."""
    file, entries = ledger_file(root), list[dict[str, Any]]()
    for line in file.read_bytes().split(b"\n")[:-1] if file.exists() else []:
        try:
            entries.append(json.loads(line))
        except ValueError:
            break
    return entries


def digests(folder: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file below a folder."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): sha256_of(path) for path in files}


def outputs(root: Path) -> dict[str, str]:
    """Returns the SHA-256 of each file that the stages have written."""
    return {f"{stage}/{name}": digest for stage in STAGES for name, digest in digests(root / "data" / stage).items()}


def locked_stages(root: Path) -> dict[str, str]:
    """Returns what dvc.lock has for each stage, as text; nothing if it is missing or damaged."""
    from ruamel.yaml import YAML

    try:
        stages = YAML(typ="safe").load(root / "dvc.lock")["stages"]
        return {name: json.dumps(of, sort_keys=True) for name, of in stages.items()}
    except Exception:
        return {}
