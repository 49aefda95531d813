"""Pretrain: trains the embedded backbone on rendered characters. Run by make backbone; takes minutes on two cores."""

from __future__ import annotations

import statistics
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from prefect import flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE

from flows.config import overrides, parameters
from flows.local.flow_runs import end_leftover
from flows.local.lock import flow_lock
from flows.local.logs import plain_errors
from flows.stages.supervise import log_message
from tasks.core.progress import listening

if TYPE_CHECKING:
    from torch import nn

    from flows.config.parameters import FlowParams

EMBEDDED = Path("data/backbone/resnet10-glyphs.safetensors")
RECIPE = EMBEDDED.with_suffix(".json")
LABELS = (1, 5, 10, 20)  # labeled digits per class for the linear probe
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)


class Accuracy(NamedTuple):
    """Mean and standard deviation of the test accuracy over random draws of labeled digits."""

    mean: float
    deviation: float


@flow(name="pretrain")
def pretrain() -> str:
    """Trains on glyphs, evaluates on digits, and replaces the embedded backbone and its recipe. Returns the scores."""
    plain_errors()
    params = parameters.load()
    with flow_lock(params.paths.state, "pretrain"):
        end_leftover(params.paths.state)
        started = time.monotonic()
        backbone = train(params)
        seconds = time.monotonic() - started
        scores = measure(backbone, params)
        write(backbone, params, scores, seconds)
    return "\n".join(
        f"{labels:>3} labels per class: {100 * accuracy.mean:.1f} ± {100 * accuracy.deviation:.1f}"
        for labels, accuracy in scores.items()
    )


@task(cache_policy=NO_CACHE)
def train(params: FlowParams) -> nn.Module:
    """Returns the trained backbone, (N, 3, S, S) to (N, 512), on the CPU. Resumes from its checkpoint if killed."""
    from tasks.embedded.pretraining import pretrained_network
    from tasks.hardware.device import choose
    from tasks.training.checkpoint import FileCheckpoint, digest_of
    from tasks.training.loop import Schedule

    overrides.keep()
    section, device = params.pretrain, choose("auto", "auto")
    schedule = Schedule(
        epochs=section.epochs,
        steps_per_epoch=section.glyphs // section.batch,
        warmup=section.warmup,
        weight_decay=section.weight_decay,
        patience=section.epochs,
        seed=0,
    )
    digest = digest_of("tasks.embedded.pretraining", [], [section.model_dump(), device.facts()])
    file = params.paths.checkpoints / f"pretrain-{digest}.safetensors"
    with listening(partial(log_message, get_run_logger())):
        network = pretrained_network(section.batch, section.side, section.rate, schedule, device, FileCheckpoint(file))
    file.unlink()
    return network.backbone.cpu().eval()


@task(cache_policy=NO_CACHE)
def measure(backbone: nn.Module, params: FlowParams) -> dict[int, Accuracy]:
    """Returns the accuracy of a linear probe on the backbone, by number of labeled digits per class."""
    from tasks.embedded.pretraining import digit_probes

    scores = {}
    for labels in LABELS:
        accuracies = digit_probes(backbone, params.pretrain.side, labels, params.pretrain.draws, STRENGTHS)
        scores[labels] = Accuracy(statistics.mean(accuracies), statistics.stdev(accuracies))
        get_run_logger().info(f"{labels} labels per class: {scores[labels].mean:.1%}")
    return scores


@task(cache_policy=NO_CACHE)
def write(backbone: nn.Module, params: FlowParams, scores: dict[int, Accuracy], seconds: float) -> None:
    """Writes the weights in float16 with their preprocessing, and a JSON file with the recipe and the accuracies."""
    from tasks.core.files import sha256_of, write_json
    from tasks.core.schema import EMBEDDED_ARCHITECTURE
    from tasks.embedded.pretraining import preprocessing
    from tasks.hardware.device import choose
    from tasks.models import weights_file
    from tasks.models.backbone import preprocessing_fields

    halves = {
        name: value.half() if value.is_floating_point() else value for name, value in backbone.state_dict().items()
    }
    weights_file.write(EMBEDDED, halves, {"preprocessing": preprocessing_fields(preprocessing(params.pretrain.side))})
    recipe: dict[str, Any] = {
        "architecture": EMBEDDED_ARCHITECTURE,
        "sha256": sha256_of(EMBEDDED),
        "made_by": "make backbone",
        "pretrain": params.pretrain.model_dump(),
        "seconds": round(seconds),
        "machine": choose("auto", "auto").facts(),
        "linear_probe_on_digits": {
            f"{labels} labels a class": {
                "mean": round(accuracy.mean, 4),
                "deviation": round(accuracy.deviation, 4),
                "draws": params.pretrain.draws,
            }
            for labels, accuracy in scores.items()
        },
    }
    write_json(RECIPE, recipe)
