"""Where a deployed run works, as Prefect's pull steps: in the main checkout, or in a git worktree of its own at HEAD.

It imports nothing of the project, since the project's code is then taken from where the run works.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from configobj import ConfigObj

PLACES = {"dir", "url", "credentialpath", "configpath", "keyfile", "cert_path", "key_path"}  # that DVC takes as such
PLACES |= {"gdrive_user_credentials_file", "gdrive_service_account_json_file_path"}
SHARED = (".state", ".registry")  # one lock, one feature store, one registry for all worktrees


def main_checkout(directory: str) -> dict[str, str]:
    """Works in the main checkout: for runs that read the registry and change nothing of the data."""
    return _work_in(Path(directory).resolve())


def worktree(directory: str) -> dict[str, str]:
    """Works in a new worktree of the checkout at `directory`, so that a person's uncommitted work is not touched.

    It shares the checkout's state, registry and DVC cache. Worktrees whose run has ended are removed first. The commit
    is HEAD, or the one that the environment variable ROOTSTOCK_COMMIT names, which is fetched if it is not there.
    """
    home = Path(directory).resolve()
    folder = home / ".state" / "worktrees"
    folder.mkdir(parents=True, exist_ok=True)
    for place in folder.iterdir():  # named by the process that works in it
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


def _configure(own: Path, new: Path, remote: Path) -> None:
    """DVC's settings, committed ones and the main checkout's local ones, with its places; else its cache and remote."""
    config, local = (
        ConfigObj(str(file), encoding="utf-8", interpolation=False) for file in (new / "config", own / "config.local")
    )
    config.merge(local)
    for section in config.values():  # what is relative is so to the main checkout's .dvc
        for name in PLACES & set(section):
            if "://" not in section[name]:
                section[name] = str((own / Path(section[name]).expanduser()).resolve())
    config.setdefault("cache", {}).setdefault("dir", str(own / "cache"))
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
