"""Removes from DVC's cache and remote what no kept version, no commit at a tip and no checkout needs.

`dvc gc` knows what commits need, but a version may come from a state that was never committed. It does keep what other
projects need: one is made here, whose outputs are all that is needed.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from flows.local.environment import MAIN_CHECKOUT, REGISTRY
from flows.local.git_tips import contents_at_tips
from flows.registry.outage import is_outage, unreachable
from flows.registry.store import client
from flows.stages import dvc_cli, dvc_versions
from tasks.core.errors import RootstockError

LINEAGE = f"lineage/{dvc_cli.LOCK.name}"  # artifact of a run
RECOMPUTED = ("features",)  # stages whose outputs grow with each image, and are quickly made again
REMEDY = "nothing was removed from DVC. If no data of that version is needed, delete it in MLflow"


def stored_locks(runs: Iterable[str]) -> list[str]:
    """Returns the texts of the dvc.lock stored with these runs. Raises RootstockError if one cannot be read."""
    return [_stored_lock(run) for run in sorted(runs)]


def collect(locks: Iterable[str], *, shared: bool, with_aliases: Iterable[str] = ()) -> list[str]:
    """Removes objects, keeping what these texts of dvc.lock need. Returns what was done, a line each.

    Features of all images are new whenever an image is: of the versions, only those `with_aliases` keep
    theirs. A cache or remote outside of the main checkout may be shared with other projects, whose objects would be
    removed too: it is left as it is unless `shared` is true. Raises RootstockError if nothing says what a folder holds.
    """
    cache, remote = dvc_versions.cache_folder().resolve(), dvc_cli.remote_url()
    if not shared and not cache.is_relative_to(MAIN_CHECKOUT):
        return [f"DVC's cache in {cache} may be shared, so nothing was removed there: --shared allows it"]
    cloud = remote is not None and (shared or _is_ours(remote))
    lines = [f"{dvc_versions.remove_leftovers()} leftovers removed from DVC's cache"]
    required = {md5 for text in locks for md5 in md5s_of(text, but_of=RECOMPUTED)}
    required |= {md5 for text in with_aliases for md5 in md5s_of(text)}
    at_tips = {md5 for text in contents_at_tips(dvc_cli.LOCK.name, "*.dvc") for md5 in md5s_of(text)}
    lost = [md5 for md5 in sorted(required) if not _has_listing(md5, cache, remote)]
    if lost:
        raise RootstockError(
            f"a kept version needs the folder {lost[0]}, whose list is neither in DVC's cache nor in a remote on this "
            f"machine, so nothing tells which files it holds: dvc fetch brings it, or {REMEDY}",
            key="no-lineage",
        )
    with TemporaryDirectory() as folder:
        _write_project(Path(folder), cache, required | {md5 for md5 in at_tips if _has_listing(md5, cache, remote)})
        output = dvc_cli.dvc("gc", "--force", "--workspace", "--projects", folder, *(["--cloud"] if cloud else []))
    lines += [line for line in output.splitlines() if line.startswith("Removed")]
    if not cloud:
        lines.append("DVC's remote may be shared, so nothing was removed there: --shared allows it")
    return lines


def _is_ours(remote: str) -> bool:
    """Returns whether a remote lies in the registry's folder, unless that is a link to a place that others may use."""
    return Path(remote).resolve().is_relative_to(REGISTRY) and REGISTRY.is_relative_to(MAIN_CHECKOUT)


def _has_listing(md5: str, cache: Path, remote: str | None) -> bool:
    """Returns whether the cache has the list of a folder's files, which may first be copied from a remote folder.

    Without it, DVC would take the folder's files for unneeded.
    """
    place = Path("files", "md5", md5[:2], md5[2:])
    if not md5.endswith(".dir") or (cache / place).exists():
        return True
    if remote is None or "://" in remote or not (Path(remote) / place).exists():
        return False
    (cache / place).parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(Path(remote) / place, cache / place)
    return True


def _stored_lock(run_id: str) -> str:
    from mlflow.exceptions import MlflowException

    try:
        with TemporaryDirectory() as folder:
            return Path(client().download_artifacts(run_id, LINEAGE, folder)).read_text(encoding="utf-8")
    except (MlflowException, OSError) as error:
        if is_outage(error):  # the file may be there
            raise unreachable(error) from None
        raise RootstockError(
            f"the {LINEAGE} of run {run_id}, whose version is kept, cannot be read ({error}), so nothing tells which "
            f"data it needs: {REMEDY}",
            key="no-lineage",
        ) from None


def _write_project(folder: Path, cache: Path, md5s: Iterable[str]) -> None:
    """Writes a DVC project without git that uses the same cache and whose outputs have these MD5s."""
    (folder / ".dvc").mkdir()
    (folder / ".dvc" / "config").write_text(f'[core]\n    no_scm = true\n[cache]\n    dir = "{cache}"\n', "utf-8")
    outs = [{"md5": md5, "hash": "md5", "path": f"kept-{number}"} for number, md5 in enumerate(sorted(md5s))]
    with (folder / "kept.dvc").open("w", encoding="utf-8") as file:
        YAML(typ="safe").dump({"outs": outs}, file)


def md5s_of(text: str, but_of: Collection[str] = ()) -> set[str]:
    """Returns the MD5s of dependencies and outputs in the text of a dvc.lock or .dvc file; none if it is malformed.

    The outputs of the stages `but_of` are left out, also where later stages depend on them.
    """
    try:
        document = YAML(typ="safe").load(text)
        stages = document.get("stages", {"": document})
        entries = [entry for stage in stages.values() for kind in ("deps", "outs") for entry in stage.get(kind, [])]
        left_out = tuple(str(out["path"]) for name in but_of for out in stages.get(name, {}).get("outs", []))
        return {str(entry["md5"]) for entry in entries if "md5" in entry and not _is_below(entry, left_out)}
    except (YAMLError, TypeError, AttributeError, KeyError):
        return set()


def _is_below(entry: Mapping[str, object], folders: Collection[str]) -> bool:
    path = PurePosixPath(str(entry.get("path")))
    return any(path.is_relative_to(folder) for folder in folders)
