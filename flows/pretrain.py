"""Pretrain: the embedded backbone, made again from printed characters. Run by make backbone; minutes on two cores."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.config import parameters
from flows.local.lock import flow_lock
from flows.local.logs import plain_errors

if TYPE_CHECKING:
    from torch import nn

    from flows.config.parameters import FlowParams

EMBEDDED = Path("data/backbone/resnet10-glyphs.safetensors")
RECIPE = EMBEDDED.with_suffix(".json")
LABELS = (1, 5, 10, 20)  # digits a class that the probe is given
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


@flow(name="pretrain")
def pretrain() -> str:
    """Trains on glyphs, measures on digits, and replaces the embedded backbone and its recipe. What it measured."""
    plain_errors()
    params = parameters.load()
    with flow_lock(params.paths.state, "pretrain"):
        started = time.monotonic()
        backbone = train(params)
        seconds = time.monotonic() - started
        measured = measure(backbone, params)
        write(backbone, params, measured, seconds)
    return "\n".join(
        f"{labels:>3} labels a class: {100 * mean:.1f} ± {100 * deviation:.1f}"
        for labels, (mean, deviation) in measured.items()
    )


@task(cache_policy=NO_CACHE)
def train(params: FlowParams) -> nn.Module:
    """The backbone, (N, 3, S, S) to (N, 512), on the CPU; goes on from its checkpoint after a kill."""
    from tasks.embedded.pretraining import pretrained_network
    from tasks.hardware.device import choose
    from tasks.training.checkpoint import FileCheckpoint, digest_of
    from tasks.training.loop import Schedule

    wanted, device = params.pretrain, choose("auto", "auto")
    schedule = Schedule(
        epochs=wanted.epochs,
        steps_per_epoch=wanted.glyphs // wanted.batch,
        warmup=wanted.warmup,
        weight_decay=wanted.weight_decay,
        patience=wanted.epochs,
        seed=0,
    )
    digest = digest_of("tasks.embedded.pretraining", [], [wanted.model_dump(), device.facts()])
    kept = params.paths.checkpoints / f"pretrain-{digest}.safetensors"
    network = pretrained_network(wanted.batch, wanted.side, wanted.rate, schedule, device, FileCheckpoint(kept))
    kept.unlink()
    return network.backbone.cpu().eval()


@task(cache_policy=NO_CACHE)
def measure(backbone: nn.Module, params: FlowParams) -> dict[int, tuple[float, float]]:
    """Mean and standard deviation of the probe's test accuracy, by labelled digits a class."""
    from tasks.embedded.pretraining import digit_probes

    found = {}
    for labels in LABELS:
        accuracies = digit_probes(backbone, params.pretrain.side, labels, params.pretrain.draws, STRENGTHS)
        found[labels] = (statistics.mean(accuracies), statistics.stdev(accuracies))
        get_run_logger().info(f"{labels} labels a class: {found[labels][0]:.1%}")
    return found


@task(cache_policy=NO_CACHE)
def write(backbone: nn.Module, params: FlowParams, measured: dict[int, tuple[float, float]], seconds: float) -> None:
    """The weights in float16 with their preprocessing, and beside them how they were made and how good they are."""
    from dataclasses import asdict

    from tasks.core.files import sha256_of, write_json
    from tasks.embedded.pretraining import ARCHITECTURE, preprocessing
    from tasks.hardware.device import choose
    from tasks.models import weights_file as weights

    halves = {
        name: value.half() if value.is_floating_point() else value for name, value in backbone.state_dict().items()
    }
    weights.write(EMBEDDED, halves, {"preprocessing": asdict(preprocessing(params.pretrain.side))})
    recipe: dict[str, Any] = {
        "architecture": ARCHITECTURE,
        "sha256": sha256_of(EMBEDDED),
        "made_by": "make backbone",
        "pretrain": params.pretrain.model_dump(),
        "seconds": round(seconds),
        "machine": choose("auto", "auto").facts(),
        "linear_probe_on_digits": {
            f"{labels} labels a class": {
                "mean": round(mean, 4),
                "deviation": round(deviation, 4),
                "draws": params.pretrain.draws,
            }
            for labels, (mean, deviation) in measured.items()
        },
    }
    write_json(RECIPE, recipe)
