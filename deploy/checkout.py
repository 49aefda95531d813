"""Prefect pull steps: a deployed run works in the main checkout, or in a new git worktree at HEAD.

This module imports nothing from the project: a run must import the project's code from its own working directory.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from configobj import ConfigObj

# DVC settings whose values are paths
PATH_SETTINGS = {"dir", "url", "credentialpath", "configpath", "keyfile", "cert_path", "key_path"}
PATH_SETTINGS |= {"gdrive_user_credentials_file", "gdrive_service_account_json_file_path"}
SHARED = (".state", ".registry")  # all worktrees share one lock, one feature store and one registry


def main_checkout(directory: str) -> dict[str, str]:
    """Runs in the main checkout, for flows that use only the registry and do not touch data or code."""
    return _work_in(Path(directory).resolve())


def worktree(directory: str) -> dict[str, str]:
    """Runs in a new worktree of the checkout at `directory`, so that uncommitted changes there are not affected.

    The worktree shares the checkout's state, registry and DVC cache. Worktrees of finished runs are removed first.
    The commit is HEAD or, if set, the environment variable ROOTSTOCK_COMMIT, which is fetched if missing.
    """
    home = Path(directory).resolve()
    folder = home / ".state" / "worktrees"
    folder.mkdir(parents=True, exist_ok=True)
    for place in folder.iterdir():  # each is named after the ID of its process
        if place.name.isdigit() and not _alive(int(place.name)):
            shutil.rmtree(place, ignore_errors=True)
    place = folder / str(os.getpid())
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    _git(home, "worktree", "prune")
    root = place / "rootstock"
    commit = os.environ.get("ROOTSTOCK_COMMIT", "HEAD")
    if subprocess.run(["git", "-C", str(home), "cat-file", "-e", f"{commit}^{{commit}}"], check=False).returncode:
        _git(home, "fetch", "--quiet", "origin", commit)
    _git(home, "worktree", "add", "--quiet", "--detach", str(root), commit)
    for name in SHARED:
        (root / name).symlink_to(home / name)
    _configure(home / ".dvc", root / ".dvc", home / ".registry" / "dvc")
    return _work_in(root)


def _configure(main: Path, new: Path, remote: Path) -> None:
    """Writes the worktree's DVC settings: the committed settings plus the main checkout's local settings.

    Relative paths become absolute. The cache and the remote default to those of the main checkout.
    """
    config, local = (
        ConfigObj(str(file), encoding="utf-8", interpolation=False) for file in (new / "config", main / "config.local")
    )
    config.merge(local)
    for section in config.values():  # relative paths start at the main checkout's .dvc
        for name in PATH_SETTINGS & set(section):
            if "://" not in section[name]:
                section[name] = str((main / Path(section[name]).expanduser()).resolve())
    config.setdefault("cache", {}).setdefault("dir", str(main / "cache"))
    config.setdefault('remote "local"', {}).setdefault("url", str(remote))
    config.filename = str(new / "config.local")
    config.write()
    (new / "config.local").chmod(0o600)


def _work_in(root: Path) -> dict[str, str]:
    os.chdir(root)
    sys.path.insert(0, str(root))
    return {"directory": str(root)}


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _git(home: Path, *arguments: str) -> None:
    done = subprocess.run(["git", "-C", str(home), *arguments], check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"git {' '.join(arguments)} in {home} failed: {done.stderr.strip()}")
