"""Every torchvision classification architecture: built and inspected, and run and trained up to 100 M parameters."""

from __future__ import annotations

import time

from tasks.reports.page import markdown_table
from tests.benchmarks.results import Results, machine
from tests.scorer.architectures import ALL, examined


def run(results: Results) -> str:
    """Returns the benchmark's table."""
    facts_by_name = {name: results.measured(name, lambda: timed(name)) for name in ALL}
    rows = [[name, *facts.values()] for name, facts in facts_by_name.items()]
    computed = sum(bool(facts["computed"]) for facts in facts_by_name.values())
    columns = ["architecture", *next(iter(facts_by_name.values()))]
    return (
        f"{markdown_table(columns, rows)}\n\n{len(facts_by_name)} architectures, {computed} computed with; {machine()}"
    )


def timed(name: str) -> dict[str, object]:
    started = time.perf_counter()
    return {**examined(name), "seconds": round(time.perf_counter() - started, 1)}
