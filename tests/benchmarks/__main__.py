"""Measures the README's figures: make bench, or make bench ARGS="few_labels hymenoptera". Resumes if interrupted."""

from __future__ import annotations

import argparse
from importlib import import_module

from tests.benchmarks.results import NoAssetsError, Results

BENCHMARKS = (
    "architectures",
    "article",
    "rotations",
    "few_labels",
    "hymenoptera",
    "interpolation",
    "recipes",
    "methods",
    "precision",
    "orchestration",
    "choice",
    "gate",
    "gate_errors",
    "coverage",
    "speed",
    "extraction",
    "cache",
    "compiling",
    "increment",
    "growth",
    "augmentation",
    "batch",
    "promotion",
    "nights",
    "memory",
    "cluster",
    "scale",
    "kills",
    "neighbors",
    "parity",
    "serving",
    "swaps",
    "distillation",
    "pseudo_labels",
    "domains",
    "adversaries",
    "compare",
    "gpu",
)

parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], metavar="name", help=", ".join(BENCHMARKS))
left_out = 0
for name in parser.parse_args().names or BENCHMARKS:
    print(f"\n== {name}", flush=True)
    try:
        print(import_module(f"tests.benchmarks.{name}").run(Results(name)), flush=True)
    except NoAssetsError as error:
        print(f"left out: {error}", flush=True)
        left_out += 1
raise SystemExit(left_out > 0)
