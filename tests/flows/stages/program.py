"""A program for fork servers: it runs its first argument as Python code. Copied by tests to where they run it."""

import os
import sys
import time

from tasks.runner.fork_client import run_in_fork

VARIABLE = "ROOTSTOCK_TEST_SERVER"
IMPORTED = []


def imports(names):
    for name in names:
        time.sleep(float(os.environ.get("IMPORT_SECONDS", "0")))
        IMPORTED.append(name)
        yield


def run_here(arguments):
    print("in a fork" if __name__ != "__main__" else "here", flush=True)
    exec(arguments[0])  # noqa: S102 - a test's code
    sys.exit(0)


if __name__ == "__main__":
    run_in_fork(VARIABLE, "program", sys.argv[1:])
    run_here(sys.argv[1:])
