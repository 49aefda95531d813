"""Removes from DVC's cache and remote what no kept version, no branch, no tag and no checkout needs.

`dvc gc` knows what commits need, but a version may come from a state that was never committed. It does keep what other
projects need: one is made here, with the outputs in the dvc.lock that is stored with each kept version.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

from ruamel.yaml import YAML

from flows.local.environment import MAIN_CHECKOUT, REGISTRY
from flows.registry.store import client
from flows.stages import dvc_cli, dvc_versions
from tasks.core.errors import RootstockError

LINEAGE = f"lineage/{dvc_cli.LOCK.name}"  # artifact of a run


def collect(runs: Iterable[str], *, shared: bool) -> list[str]:
    """Removes objects, keeping what these runs' versions need. Returns what was done, a line each.

    A cache or remote outside of the main checkout may be shared with other projects, whose objects would be removed
    too: it is left as it is unless `shared` is true. Raises RootstockError if a run's dvc.lock cannot be read.
    """
    lines = [f"{dvc_versions.remove_leftovers()} leftovers removed from DVC's cache"]
    cache, remote = dvc_versions.cache_folder().resolve(), dvc_cli.remote_url()
    if not shared and not cache.is_relative_to(MAIN_CHECKOUT):
        return [*lines, f"DVC's cache in {cache} may be shared, so nothing was removed there: --shared allows it"]
    cloud = shared or (remote is not None and Path(remote).resolve().is_relative_to(REGISTRY))
    with TemporaryDirectory() as folder:
        _write_project(Path(folder), cache, [_stored_lock(run) for run in runs])
        keep = ("--workspace", "--all-branches", "--all-tags", "--projects", folder)
        output = dvc_cli.dvc("gc", "--force", *keep, *(["--cloud"] if cloud else []))
    lines += [line for line in output.splitlines() if line.startswith("Removed")]
    if not cloud:
        lines.append("DVC's remote may be shared, so nothing was removed there: --shared allows it")
    return lines


def _stored_lock(run_id: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        with TemporaryDirectory() as folder:
            return Path(client().download_artifacts(run_id, LINEAGE, folder)).read_text(encoding="utf-8")
    except (MlflowException, OSError) as error:
        raise RootstockError(
            f"run {run_id} of a kept version has no {LINEAGE} ({error}), so nothing tells which data it needs: nothing "
            "was removed from DVC; delete that version in MLflow if it is not needed",
            key="no-lineage",
        ) from None


def _write_project(folder: Path, cache: Path, locks: Iterable[str]) -> None:
    """Writes a DVC project without git that uses the same cache and whose outputs are those of the dvc.lock texts."""
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text(f"[core]\n    no_scm = true\n[cache]\n    dir = {cache}\n", "utf-8")
    md5s = sorted({md5 for text in locks for md5 in md5s_of(text)})
    outs = [{"md5": md5, "hash": "md5", "path": f"kept-{number}"} for number, md5 in enumerate(md5s)]
    with (folder / "kept.dvc").open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump({"outs": outs}, file)


def md5s_of(lock: str) -> set[str]:
    """Returns the MD5s of all dependencies and outputs in the text of a dvc.lock."""
    stages = YAML(typ="safe").load(lock)["stages"].values()
    entries = (entry for stage in stages for kind in ("deps", "outs") for entry in stage.get(kind, []))
    return {entry["md5"] for entry in entries if "md5" in entry}
