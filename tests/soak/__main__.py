"""Makes faults for real in a tiny project, for hours: make soak ARGS="--cycles 100 --seed 1". Resumes if interrupted.

Each cycle kills processes of a command, or lets it meet a full disk, a damaged file or a second command, and starts
the command again until it finishes; then nothing may be lost, computed twice, left open or live without a verdict.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path

from tests import session

# Set before flows is imported: the soak's own imports use no registry of the repository.
os.environ.update(PREFECT_HOME=f"{session.HOME}/prefect", MLFLOW_TRACKING_URI=f"sqlite:///{session.HOME}/mlflow.db")
os.environ.setdefault("OMP_NUM_THREADS", "1")
session.HOME.mkdir(exist_ok=True)

from tests.project import ROOT  # noqa: E402
from tests.soak.cycle import run_cycle  # noqa: E402
from tests.soak.draw import draw  # noqa: E402
from tests.soak.results import Results, line_of, table  # noqa: E402
from tests.soak.workshop import Workshop, code  # noqa: E402
from tests.whole_runs import start_prefect_server  # noqa: E402


def arguments() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(prog="make soak ARGS=...", description=__doc__)
    parser.add_argument("--cycles", type=int, default=50, help="number of cycles")
    parser.add_argument("--seed", type=int, default=0, help="other seeds draw other cycles")
    parser.add_argument("--only", type=int, nargs="+", help="numbers of cycles to run, or to run again")
    parser.add_argument("--slow", action="store_true", help="stopped processes stay stopped for a minute")
    parser.add_argument("--folder", type=Path, default=ROOT / ".state" / "soak", help="where it works")
    return parser.parse_args()


def soak(options: argparse.Namespace) -> Results:
    """Runs the cycles that have no result yet, or those that were asked for."""
    folder = (options.folder / code()).resolve()
    results = Results(folder / f"seed-{options.seed}.jsonl")
    workshop = Workshop(folder, start_prefect_server(), lambda text: print(f"      {text}", flush=True))
    numbers = options.only or [number for number in range(options.cycles) if number not in results.outcomes]
    for number in numbers:
        outcome = run_cycle(workshop, draw(options.seed, number), slow=options.slow)
        results.add(outcome)
        print(line_of(outcome), flush=True)
    return results


def main() -> int:
    """Returns exit code 1 if an invariant broke."""
    options, lifeline = arguments(), session.begin()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the cycle and the server end as well
    try:
        results = soak(options)
    finally:
        session.end(lifeline)
    outcomes = [each for each in results.outcomes.values() if not options.only or each.number in options.only]
    print(table(outcomes, f"python -m tests.soak --folder {options.folder} --seed {options.seed}"))
    return 1 if any(outcome.problems for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
