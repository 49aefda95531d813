"""A clock that jumps, for the processes of one command alone: a small library that is loaded before all others."""

from __future__ import annotations

import shutil
import struct
import subprocess
from pathlib import Path

DAY = 24 * 3600
SOURCE = r"""
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static volatile long *offset;
__attribute__((constructor)) static void begin(void) {
  int file = open(getenv("SOAK_CLOCK"), O_RDONLY);
  if (file >= 0) offset = mmap(0, 8, PROT_READ, MAP_SHARED, file, 0);
  if (offset == MAP_FAILED) offset = 0;
}
int clock_gettime(clockid_t clock, struct timespec *at) {
  int result = syscall(SYS_clock_gettime, clock, at);
  if (!result && offset && clock == CLOCK_REALTIME) at->tv_sec += *offset;
  return result;
}
int gettimeofday(struct timeval *at, void *zone) {
  int result = syscall(SYS_gettimeofday, at, zone);
  if (!result && offset) at->tv_sec += *offset;
  return result;
}
time_t time(time_t *at) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (at) *at = now.tv_sec;
  return now.tv_sec;
}
"""


def prepare(folder: Path) -> Path | None:
    """Compiles the library. Returns the file that sets the clock, or None if there is no compiler."""
    compiler = shutil.which("cc")
    if not compiler:
        return None
    (folder / "clock.c").write_text(SOURCE)
    built = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", "clock.so", "clock.c"], cwd=folder, capture_output=True, check=False
    )
    if built.returncode:
        return None
    set_to(folder / "clock", 0)
    return folder / "clock"


def set_to(file: Path, seconds: int) -> None:
    """Sets the clock ahead of the machine's by this many seconds."""
    with file.open("r+b" if file.exists() else "wb") as opened:
        opened.write(struct.pack("l", seconds))


def variables(folder: Path, file: Path) -> dict[str, str]:
    """Returns the environment of a command with this clock."""
    return {"LD_PRELOAD": str(folder / "clock.so"), "SOAK_CLOCK": str(file)}
