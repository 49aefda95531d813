"""Seconds per step of fine-tuning all blocks, plain and compiled (finetune.compile), on the available device."""

from __future__ import annotations

import time

import torch

from tasks.hardware.device import Device, choose
from tasks.hardware.microbatches import MicroBatches
from tasks.models.freezing import freeze_all_but_last, learn_mode, parameter_groups
from tasks.reports.page import markdown_table
from tasks.scorer.network import Network, build_network
from tasks.training.compiled import compiled_fit
from tasks.training.loop import Fit, Schedule, step
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.types import Batch
from tests.benchmarks.results import Results, machine, middle

ROUNDS, STEPS = 5, 3
BATCH, SIDE, CLASSES, RATE = 32, 224, 10, 1e-4
SCHEDULE = Schedule(epochs=1, steps_per_epoch=STEPS, warmup=0, weight_decay=0.01, patience=1, seed=0)
NETWORKS = ("mobilenet_v2", "resnet50")
PRECISIONS = ("float32", "bfloat16")


def run(results: Results) -> str:
    """Returns the benchmark's table."""
    rows = []
    for name in NETWORKS:
        for precision in PRECISIONS:
            plain, compiled, start = results.measured(f"{name}, {precision}", lambda: seconds(name, precision))
            ratios = [a / b for a, b in zip(plain, compiled, strict=True)]
            rows.append(
                [f"{name}, {precision}", middle(plain, 3), middle(compiled, 3), middle(ratios, 2), f"{start:.0f}"]
            )
    columns = ["", "seconds a step", "compiled", "ratio", "seconds until it is compiled"]
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else machine()
    return f"{markdown_table(columns, rows)}\n\n{ROUNDS} rounds in turn, {BATCH} images of {SIDE} pixels; {where}"


def seconds(name: str, precision: str) -> tuple[list[float], list[float], float]:
    """Returns the seconds per step by round, plain and compiled, and the extra seconds of the first compiled step."""
    device = choose("auto", precision)
    plain, quick = build_network(name, CLASSES), build_network(name, CLASSES)
    device.place(plain), device.place(quick)
    timed(plain, device, 1)
    started = time.perf_counter()
    with compiled_fit(quick.backbone, enabled=True):
        timed(quick, device, 1)
        start = time.perf_counter() - started
        rounds = [[timed(network, device, STEPS) for network in (plain, quick)] for _ in range(ROUNDS)]
    without, with_it = zip(*rounds, strict=True)
    return list(without), list(with_it), start - min(with_it)


def timed(network: Network, device: Device, steps: int) -> float:
    """Returns the seconds per step, averaged over `steps`."""
    learning = freeze_all_but_last(network.backbone, 99)
    learn_mode(network, learning, batch_statistics=False)
    groups = parameter_groups(network, learning, RATE, RATE, 1.0)
    settings = [{"params": group.parameters, "lr": group.lr} for group in groups]
    optimizer = torch.optim.AdamW(settings, fused=device.fuses)
    x_N3SS, y_N = device.place(torch.rand(BATCH, 3, SIDE, SIDE)), torch.arange(BATCH).to(device.device) % CLASSES
    run = Fit(network, cross_entropy(), SCHEDULE, device)
    started = time.perf_counter()
    for _ in range(steps):
        step(run, Batch(x_N3SS, y_N), optimizer, MicroBatches())  # reading the loss synchronizes with the GPU
    return (time.perf_counter() - started) / steps
