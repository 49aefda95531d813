"""Small disks and read-only folders, which only root can mount; without root, a limit on the size of files."""

from __future__ import annotations

import os
import resource
import subprocess
from pathlib import Path

import psutil

from tests.soak.processes import descendants

MOUNTS = Path("/proc/self/mounts")


def _mount(*arguments: str) -> bool:
    try:
        return subprocess.run(["mount", *arguments], capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        return False


def small_disk(folder: Path, mebibytes: int) -> bool:
    """Mounts an empty file system of this size. Returns whether that is possible."""
    folder.mkdir(parents=True, exist_ok=True)
    return _mount("-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(folder))


def read_only(folder: Path) -> bool:
    """Makes a folder read-only, for root as well. Returns whether that is possible."""
    bound = _mount("--bind", str(folder), str(folder))
    return bound and _mount("-o", "remount,ro,bind", str(folder))


def unmount_below(folder: Path) -> None:
    """Unmounts what is mounted at or below a folder, the innermost first."""
    lines = MOUNTS.read_text().splitlines() if MOUNTS.exists() else []
    places = [line.split()[1].replace("\\040", " ") for line in lines]
    for place in reversed(places):
        if Path(place).is_relative_to(folder):
            subprocess.run(["umount", "--lazy", place], capture_output=True, check=False)


def fill(folder: Path, kibibytes_left: int) -> Path:
    """Fills the disk of a folder except for some KiB. Returns the file that takes the space."""
    ballast = folder / ".ballast"
    with ballast.open("wb") as file:
        stat = os.statvfs(folder)
        size = stat.f_bavail * stat.f_frsize - kibibytes_left * 1024
        os.posix_fallocate(file.fileno(), 0, max(size, 1))
    return ballast


def limit_files(pid: int, kibibytes: int) -> None:
    """Lets no process of a command write files beyond a size, if there is no small disk to be full."""
    for process in [psutil.Process(pid), *descendants(pid)]:
        hard = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (kibibytes * 1024, hard))
