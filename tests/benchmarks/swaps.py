"""Promotions and rollbacks under constant load, with workers killed at random: failures, delays, what is left."""

from __future__ import annotations

import json
import os
import random
import signal
import tempfile
import time
from contextlib import closing
from itertools import cycle
from pathlib import Path
from subprocess import Popen
from typing import Any

import numpy as np
import psutil

from tests.benchmarks.results import Results, machine
from tests.benchmarks.serving import asked, photograph, request, start_load
from tests.flows.serving.running import Releases, Server, checkout

SWAPS = int(os.environ.get("ROOTSTOCK_SWAPS", "500"))
LOAD, OK = 0.5, 200  # of the highest rate
KILL = 0.2  # probability that the worker is killed during a swap
LATEST = 15.0  # seconds after a version was live, in which it may still answer
QUIET, GAP = 60.0, 8.0  # seconds without swaps, for comparison, and between two swaps


def run(results: Results) -> str:
    """Returns the figures as a table."""
    figures = results.measured(f"{SWAPS} swaps", measured)
    lines = [f"| {name} | {value} |" for name, value in figures.items()]
    return "\n".join(["| | |", "|---|---|", *lines, "", machine()])


def measured() -> dict[str, Any]:
    random.seed(1)
    with tempfile.TemporaryDirectory() as place:
        root, file = checkout(Path(place) / "checkout"), Path(place) / "request"
        request("/predict", "image/jpeg", photograph(), file)
        with closing(Releases(root, 2)) as releases:
            releases.act("promote 1")
            with closing(Server(root)) as server:
                server.wait_for("1")
                answers, _, _ = asked(server, file, 15)
                rate = LOAD * len(answers) / 15
                load = start_load(server.address, file, 10**6, rate)
                time.sleep(QUIET)
                return {"requests a second": rate, **swapped(server, releases, load, time.time())}


def swapped(server: Server, releases: Releases, load: Popen[str], quiet: float) -> dict[str, Any]:
    """Returns the figures of all swaps; until `quiet` there were none."""
    lives, changes, sizes = [(0.0, "1")], [], {}
    for swap, version in zip(range(1, SWAPS + 1), cycle("21"), strict=False):
        began = time.time()
        releases.act("promote 2" if version == "2" else "rollback")
        lives.append((time.time(), version))
        is_killed = random.random() < KILL
        if is_killed:
            server.worker().kill()
        server.wait_for(version)
        changes.append((began, time.time(), is_killed))
        time.sleep(GAP)
        if swap in {min(50, SWAPS // 2), SWAPS}:
            sizes[swap] = left(server)
        if swap % 10 == 0:
            print(f"{swap} swaps, the last one in {changes[-1][1] - began:.1f} s", flush=True)
    load.send_signal(signal.SIGTERM)
    answers = json.loads(load.communicate()[0])
    good = [(sent, latency, version) for sent, latency, status, version in answers if status == OK]
    calm = [latency for sent, latency, _ in good if sent < quiet]
    spans = {kills: [each for each in changes if each[2] is kills] for kills in (False, True)}
    beside = {
        kills: [latency for sent, latency, _ in good if any(began <= sent <= ended for began, ended, _ in each)]
        for kills, each in spans.items()
    }
    delays = [after - before for before, after, _ in changes]
    return {
        "swaps, with a worker killed": (SWAPS, len(spans[True])),
        "answers": len(good),
        "failed": len(answers) - len(good),
        f"answers by a version that was not live within {LATEST:.0f} s": sum(is_late(each, lives) for each in good),
        "p50 and p99 without swaps, ms": percentiles(calm),
        "p50 and p99 of requests sent during swaps, ms": percentiles(beside[False]),
        "p50 and p99 of requests sent during swaps with a kill, ms": percentiles(beside[True]),
        "release to answer, p50, p99 and longest, s": [*percentiles(delays, 1), max(delays)],
        **{f"after {swap} swaps: {name}": value for swap, size in sizes.items() for name, value in size.items()},
    }


def is_late(answer: tuple[float, float, str], lives: list[tuple[float, str]]) -> bool:
    """Returns whether the version was live at no time within LATEST seconds before the answer."""
    sent, latency, version = answer
    ends = [began for began, _ in lives[1:]] + [float("inf")]
    return not any(
        version == live and began <= sent + latency and sent + latency - LATEST <= end
        for (began, live), end in zip(lives, ends, strict=True)
    )


def percentiles(values: list[float], unit: float = 1000) -> list[float]:
    return [round(float(value) * unit, 1) for value in np.percentile(values or [np.nan], [50, 99])]


def left(server: Server) -> dict[str, int]:
    """Returns what the front and the keeper hold."""
    front = server.children("front")[0]
    keeper = psutil.Process(server.process.pid)
    return {
        "front USS, KiB": front.memory_full_info().uss // 1024,
        "keeper USS, KiB": keeper.memory_full_info().uss // 1024,
        "front descriptors": front.num_fds(),
        "keeper descriptors": keeper.num_fds(),
        "workers": len(server.children("worker")),
    }
