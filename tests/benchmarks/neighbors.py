"""Searches of nearest neighbors for label propagation: processor time, memory, and recall.

Features are drawn in clusters. scikit-learn's search, by blocks as well, is the reference.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
import time
from functools import partial

import torch

from tasks.hardware.heap import reuse_freed_memory
from tasks.objectives.nearest import SEARCHES
from tests.benchmarks.peak_memory import MIB, peak_memory
from tests.benchmarks.results import Results, machine
from tests.project import ROOT

SIZES = (20_000, 50_000)
WIDTH, CLUSTERS, NEIGHBORS, CHECKED = 512, 300, 10, 1000
SEARCHED = ("scikit-learn", *SEARCHES)
LARGEST_REFERENCE = SIZES[0]  # images for which the reference is measured


def run(results: Results) -> str:
    """Returns a table of seconds of processor time and of the clock, of MiB and of recall by search and size."""
    rows = []
    for size in SIZES:
        for search in SEARCHED:
            if search in SEARCHES or size <= LARGEST_REFERENCE:
                cpu, wall, mib, recall = results.measured(f"{search}, {size}", partial(measured, search, size))
                rows.append(f"{size:>8,}  {search:14}{cpu:8.1f} CPU-s{wall:8.1f} s{mib:8.0f} MiB   recall {recall:.3f}")
    return "\n".join([*rows, machine()])


def measured(search: str, size: int) -> tuple[float, float, float, float]:
    """Searches in a process of its own. Returns what it prints."""
    command = [sys.executable, "-m", "tests.benchmarks.neighbors", search, str(size)]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    cpu, wall, mib, recall = json.loads(done.stdout.splitlines()[-1])
    return cpu, wall, mib, recall


def clusters(size: int) -> torch.Tensor:
    """Draws features, (N, D)."""
    random = torch.Generator().manual_seed(0)
    center_N = torch.randint(CLUSTERS, (size,), generator=random)
    return torch.randn(CLUSTERS, WIDTH, generator=random)[center_N] + torch.randn(size, WIDTH, generator=random)


def nearest(search: str, x_ND: torch.Tensor) -> torch.Tensor:
    """Returns the rows that a search takes for the nearest, (N, K)."""
    if search in SEARCHES:
        return SEARCHES[search](x_ND, NEIGHBORS).row_NK
    from sklearn.neighbors import NearestNeighbors

    index = NearestNeighbors(n_neighbors=NEIGHBORS, metric="cosine").fit(x_ND.numpy())
    return torch.from_numpy(index.kneighbors(return_distance=False))


def recall(x_ND: torch.Tensor, row_NK: torch.Tensor) -> float:
    """Returns the share of the true neighbors of some rows that a search has."""
    z_ND = torch.nn.functional.normalize(x_ND, dim=1)
    checked = torch.arange(0, len(x_ND), len(x_ND) // CHECKED)
    cosine_BN = z_ND[checked] @ z_ND.T
    cosine_BN[torch.arange(len(checked)), checked] = -torch.inf
    true_BK = cosine_BN.topk(NEIGHBORS, dim=1).indices
    return float((true_BK.unsqueeze(2) == row_NK[checked].unsqueeze(1)).any(2).double().mean())


def search_here(search: str, size: int) -> tuple[float, float, float, float]:
    """Returns the seconds of processor time and of the clock, the MiB beyond those before, and the recall."""
    reuse_freed_memory()
    x_ND = clusters(size)
    nearest(search, x_ND[:100])  # imports
    ctypes.CDLL(None).malloc_trim(0)  # what drawing has freed would hide what the search takes (glibc)
    cpu, wall = time.process_time(), time.perf_counter()
    with peak_memory() as peak:
        row_NK = nearest(search, x_ND)
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return cpu, wall, peak.bytes / MIB, recall(x_ND, row_NK)


if __name__ == "__main__":
    print(json.dumps(search_here(sys.argv[1], int(sys.argv[2]))))
