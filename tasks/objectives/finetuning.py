"""Fine-tuning from the probe, and the baseline from random weights: what the stage finetune is made of."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import torch

from tasks.core.paths import Paths
from tasks.core.progress import say
from tasks.core.schema import Candidate, Curve
from tasks.core.sections import BackboneParams, Methods, Objective, refuse_tuning
from tasks.hardware.distributed import rank
from tasks.models.freezing import EVERYTHING, drop, freeze_all_but_last, parameter_groups
from tasks.models.networks import probe_network, scratch_network
from tasks.models.weights_file import write
from tasks.objectives.context import Setting
from tasks.objectives.registry import lesson_of, refuse
from tasks.objectives.requirements import DOMAIN
from tasks.scorer.scorer import Network
from tasks.training.loop import Recipe
from tasks.training.losses.mixing import mixing
from tasks.training.state import Progress, Row
from tasks.training.trainer import Bench, Lesson
from tasks.training.types import Objective as Loss

More = dict[str, float]  # numbers for the report


@dataclass(frozen=True)
class Tuned:
    """The last round of what was kept, the epochs before it, the steps of all rounds, the seconds of all tries."""

    progress: Progress
    before: int
    steps: int
    seconds: float

    @property
    def best(self) -> Row:
        """The row that was kept, its epoch counted over all rounds as in the curve."""
        row = self.progress.rows[self.progress.kept]
        return {**row, Curve.EPOCH: row[Curve.EPOCH] + self.before}


def tune(setting: Setting, learn: Mapping[str, Any], methods: Methods, seed: int) -> tuple[Tuned, More]:
    """From the probe (LP-FT, Kumar et al., 2022). `learn` is the section finetune. Writes the network.

    Of several weights of an adaptation's loss, the one whose model is best is kept. Raises ParamsError for a head that
    has nothing to fine-tune.
    """
    refuse_tuning(setting.head["kind"], learn["epochs"])
    refuse(setting, methods.objective, mixed=bool(learn["mixup"] or learn["cutmix"]))
    weighted = methods.objective in DOMAIN - {Objective.BATCHNORM}
    weights = methods.domain.weights if weighted else (0.0,)
    files = [setting.bench.curves]
    if len(weights) > 1:
        files = [setting.bench.checkpoints / f"curves-{weight:g}.jsonl" for weight in weights]
    tried = [
        with_weight(setting, learn, methods, seed, weight, file) for weight, file in zip(weights, files, strict=True)
    ]
    best = min(range(len(tried)), key=lambda place: tried[place][0].progress.lowest)
    tuned, network, more = tried[best]
    if len(weights) > 1:
        shutil.copy(files[best], setting.bench.curves)
    if not rank():
        write(setting.paths.tuned, network.state_dict())
    more |= setting.bench.saved | ({"weight": weights[best]} if weighted else {}) | looked_up(tuned.progress)
    return replace(tuned, seconds=sum(found.seconds for found, *_ in tried)), more


def with_weight(
    setting: Setting,
    learn: Mapping[str, Any],
    methods: Methods,
    seed: int,
    weight: float,
    curves: Path,
) -> tuple[Tuned, Network, More]:
    """One fit, with this weight of an adaptation's loss; or as many rounds of it as pseudo-labels are given."""
    torch.manual_seed(seed)  # of what learns beside the network
    network, base = lesson_on_labels(setting, learn)
    if curves != setting.bench.curves:
        curves.parent.mkdir(parents=True, exist_ok=True)
        curves.unlink(missing_ok=True)
    itself = methods.teacher.model_copy(update={"weights": None})
    tuned, lesson, epochs = Tuned(Progress(), 0, 0, 0.0), base, 0
    for turn in range(methods.unlabelled.rounds if methods.objective is Objective.PSEUDO_LABELS else 1):
        now = methods.model_copy(update={"teacher": itself}) if turn else methods
        bench, lesson = lesson_of(setting, now, network, base, learn["epochs"], weight)
        bench = replace(bench, curves=curves, before=(epochs, tuned.steps))
        progress = bench.fit(Candidate.TUNED, network, recipe(bench, learn, seed), lesson, f"{weight:g}-{turn}")
        steps = tuned.steps + int(progress.rows[-1][Curve.STEP])
        tuned = Tuned(progress, epochs, steps, tuned.seconds + progress.seconds)
        epochs += progress.epoch
    return tuned, network, lesson.finish(network)


def looked_up(progress: Progress) -> More:
    """What the kept epoch's row says beside loss and score; and what the best epoch by the target's labels would be."""
    own = {Curve.CANDIDATE, Curve.EPOCH, Curve.STEP, Curve.TRAIN_LOSS, Curve.VALIDATION_LOSS, Curve.VALIDATION_SCORE}
    more = {name: value for name, value in progress.rows[progress.kept].items() if name not in own}
    if Curve.TARGET_SCORE in more:
        more["oracle_score"] = max(row[Curve.TARGET_SCORE] for row in progress.rows)
    return more


def last_of(learn: Mapping[str, Any]) -> tuple[int, str]:
    """How many of the last blocks or layers learn, and which of the two."""
    return (learn["blocks"], "blocks") if learn["layers"] is None else (learn["layers"], "layers")


def lesson_on_labels(setting: Setting, learn: Mapping[str, Any]) -> tuple[Network, Lesson]:
    """The probe's network, and how it learns from labels alone."""
    network = probe_network(setting.fresh(), setting.paths.head_weights, setting.bench.goal.outputs)
    learning = freeze_all_but_last(network.backbone, *last_of(learn))
    drop(network.backbone, learn["dropout"], learn["stochastic_depth"])
    mixed = bool(learn["mixup"] or learn["cutmix"])
    return network, Lesson(
        learning=learning,
        groups=parameter_groups(network, learning, learn["head_rate"], learn["rate"], learn["decay"]),
        objective=loss_on_labels(setting, learn),
        smoothing=learn["smoothing"],
        batch_statistics=learn["batchnorm"] == "training",
        every=learn["unfreeze"],
        dropout=bool(learn["dropout"]),
        cache=0.0 if mixed else learn["cache"],  # pictures that are mixed anew are no views to keep
        compile=learn["compile"],
    )


def from_scratch(
    setting: Setting, wanted: BackboneParams, learn: Mapping[str, Any], rate: float, tuned: Tuned, seed: int
) -> float:
    """The same network from random weights, on labels, in as many steps as `tuned` took (one or more). Writes it.

    Its seconds.
    """
    bench = setting.bench
    network = scratch_network(wanted.architecture, wanted.cut, setting.head, bench.goal, seed)
    learning = freeze_all_but_last(network.backbone, EVERYTHING)
    drop(network.backbone, learn["dropout"], learn["stochastic_depth"])
    groups = parameter_groups(network, learning, rate, rate, decay=1)
    wanted_passes = ceil(tuned.steps / len(bench.train))
    passes = max(wanted_passes // learn["epochs"], 1)  # unlabelled images may make many steps of few labelled ones
    loss, dropout = loss_on_labels(setting, learn), bool(learn["dropout"])
    lesson = Lesson(
        learning, groups, loss, batch_statistics=True, passes=passes, dropout=dropout, compile=learn["compile"]
    )
    epochs = ceil(wanted_passes / passes)
    as_long = replace(recipe(bench, learn, seed), epochs=epochs, patience=epochs)
    progress = bench.fit(Candidate.SCRATCH, network, as_long, lesson)
    if not rank():
        write(setting.paths.scratch, network.state_dict())
    return progress.seconds


def loss_on_labels(setting: Setting, learn: Mapping[str, Any]) -> Loss:
    """The loss of both candidates."""
    return mixing(
        setting.bench.goal.objective(learn["smoothing"], setting.log_prior_C), learn["mixup"], learn["cutmix"]
    )


def recipe(bench: Bench, learn: Mapping[str, Any], seed: int) -> Recipe:
    """How long and how fast."""
    names = ("epochs", "warmup", "weight_decay", "patience", "clip", "parts", "average")
    return Recipe(steps_per_epoch=len(bench.train), seed=seed, **{name: learn[name] for name in names})


def conclude(setting: Setting, paths: Paths, tuned: Tuned) -> None:
    """Forgets the checkpoints, and tells the epoch that was kept."""
    if not rank():
        shutil.rmtree(paths.checkpoints, ignore_errors=True)
    told = setting.bench.goal.told(tuned.best[Curve.VALIDATION_SCORE])
    say(f"kept epoch {tuned.best[Curve.EPOCH]} of {tuned.before + tuned.progress.epoch}: {told}")
