"""Runs many histories, or one again: make simulate ARGS="--histories 1000000", make simulate ARGS="--only 17"."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.histories import broken

PART = 1000


def main() -> int:
    parser = argparse.ArgumentParser(prog="make simulate ARGS=...", description=__doc__)
    parser.add_argument("--histories", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--only", type=int, help="the seed of one history")
    options = parser.parse_args()
    first, count = (options.first, options.histories) if options.only is None else (options.only, 1)
    started = time.monotonic()
    for start in range(first, first + count, PART):
        end = min(start + PART, first + count)
        if complaint := broken(range(start, end)):
            print(complaint)
            return 1
        print(f"{end - first} histories, no rule broken, {time.monotonic() - started:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
