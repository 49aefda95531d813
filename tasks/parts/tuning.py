"""Fine-tuning from the probe, and the baseline from random weights: what the stage finetune is made of."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd
from torch import Tensor

from tasks.parts.backbone import Backbone, build
from tasks.parts.balance import Balance, balanced, log_prior, measure_balanced
from tasks.parts.bench import Bench, Lesson, batches, draws, weights_of
from tasks.parts.candidates import probe_network, scratch_network
from tasks.parts.checkpoint import digest_of
from tasks.parts.device import choose
from tasks.parts.errors import ParamsError
from tasks.parts.files import read_json
from tasks.parts.fit import Recipe
from tasks.parts.fit_state import Progress, Row
from tasks.parts.freezing import EVERYTHING, drop, freeze_all_but_last, parameter_groups
from tasks.parts.goal import Goal
from tasks.parts.manifest import of_split, usable
from tasks.parts.names import Candidate, Curve, Split
from tasks.parts.objectives.mixing import mixing
from tasks.parts.params import BackboneParams, ComputeParams
from tasks.parts.paths import Paths
from tasks.parts.processes import count, rank
from tasks.parts.progress import say
from tasks.parts.transforms import style_of
from tasks.parts.weights import read, write


@dataclass(frozen=True)
class Setting:
    """The bench, the backbone as it came, what the head is, and the classes' shares where logits are adjusted."""

    bench: Bench
    backbone: Backbone
    head: dict[str, Any]
    log_prior_C: Tensor | None


def prepare(
    paths: Paths, wanted: BackboneParams, compute: ComputeParams, batch: int, *, balance: Balance, key: object
) -> Setting:
    """All that candidates share. `key` is what the checkpoints depend on beside code and data."""
    device = choose(compute.device, compute.precision)
    sizes = (wanted.resize, wanted.crop)
    backbone = build(wanted.architecture, *read(paths.pretrained), *sizes, wanted.cut, wanted.letterbox)
    manifest = pd.read_parquet(paths.manifest)
    goal = Goal.of(usable(manifest))
    train, validation = of_split(manifest, Split.TRAIN), of_split(manifest, Split.VALIDATION)
    if (goal.targets or goal.several) and balance is not Balance.NONE:
        raise ParamsError("balance: it has a meaning for one class an image only; set it to none")
    weight_N, prior = weights_of(train), None
    if balance in {Balance.WEIGHTS, Balance.SAMPLING}:
        weight_N = balanced(weight_N, goal.truth(train), goal.outputs)
    elif balance is Balance.LOGITS:
        prior = log_prior(weight_N, goal.truth(train), goal.outputs)
    inputs = (paths.manifest, paths.plan, paths.policy, paths.head_weights, paths.pretrained)
    common = (goal, backbone.preprocessing, device)
    memory = compute.memory / 2
    bench = Bench(
        train=batches(paths.raw, train, weight_N, *common, batch, memory, drawn=balance is Balance.SAMPLING),
        validation=batches(paths.raw, validation, weights_of(validation), *common, compute.batch, memory),
        draw_NVP=draws(pd.read_parquet(paths.plan), len(train)),
        style=style_of(read_json(paths.policy)),
        device=device,
        checkpoints=paths.checkpoints / digest_of(inputs, [key, device.facts()]),
        curves=paths.curves,
        goal=goal,
        measure=goal.measure() if balance is Balance.NONE else measure_balanced,
    )
    refuse_small_batches(bench)
    paths.finetune.mkdir(parents=True, exist_ok=True)
    if not rank():
        paths.curves.unlink(missing_ok=True)
    return Setting(bench, backbone, read(paths.head_weights)[1], prior)


def refuse_small_batches(bench: Bench) -> None:
    """Raises ParamsError if a process would get nothing of a batch."""
    for batches_, name in ((bench.train, "finetune.batch"), (bench.validation, "compute.batch")):
        least = batches_.pictures // len(batches_)
        if least < count():
            raise ParamsError(
                f"finetune.processes: {count()} processes for batches of {least} pictures; take fewer, or raise {name}"
            )


def tune(setting: Setting, paths: Paths, learn: Mapping[str, Any], seed: int) -> Progress:
    """From the probe (LP-FT, Kumar et al., 2022). `learn` is the section finetune. Writes the network.

    Raises ParamsError for a head that has nothing to fine-tune.
    """
    bench = setting.bench
    if setting.head["kind"] == "knn" and learn["epochs"]:
        raise ParamsError("a knn head has nothing to fine-tune: set finetune.epochs to 0, or take another head.kind")
    network = probe_network(setting.backbone, paths.head_weights, bench.goal.outputs)
    unit, count = ("blocks", learn["blocks"]) if learn["layers"] is None else ("layers", learn["layers"])
    learning = freeze_all_but_last(network.backbone, count, unit)
    drop(network.backbone, learn["dropout"], learn["stochastic_depth"])
    mixed = bool(learn["mixup"] or learn["cutmix"])
    lesson = Lesson(
        learning=learning,
        groups=parameter_groups(network, learning, learn["head_rate"], learn["rate"], learn["decay"]),
        objective=objective(setting, learn),
        batch_statistics=learn["batchnorm"] == "training",
        every=learn["unfreeze"],
        dropout=bool(learn["dropout"]),
        cache=0.0 if mixed else learn["cache"],  # pictures that are mixed anew are no views to keep
    )
    progress = bench.fit(Candidate.TUNED, network, recipe(bench, learn, seed), lesson)
    if not rank():
        write(paths.tuned, network.state_dict())
    return progress


def from_scratch(
    setting: Setting,
    paths: Paths,
    wanted: BackboneParams,
    learn: Mapping[str, Any],
    rate: float,
    tuned: Progress,
    seed: int,
) -> float:
    """The same network from random weights, for as many epochs as `tuned` took. Writes it; its seconds."""
    bench = setting.bench
    network = scratch_network(wanted.architecture, wanted.cut, setting.head, bench.goal, seed)
    learning = freeze_all_but_last(network.backbone, EVERYTHING)
    groups = parameter_groups(network, learning, rate, rate, decay=1)
    lesson = Lesson(learning, groups, objective(setting, learn), batch_statistics=True)
    as_long = replace(recipe(bench, learn, seed), epochs=tuned.epoch, patience=max(tuned.epoch, 1))
    progress = bench.fit(Candidate.SCRATCH, network, as_long, lesson)
    if not rank():
        write(paths.scratch, network.state_dict())
    return progress.seconds


def objective(setting: Setting, learn: Mapping[str, Any]) -> Any:  # noqa: ANN401 - an Objective
    """The loss of both candidates."""
    return mixing(
        setting.bench.goal.objective(learn["smoothing"], setting.log_prior_C), learn["mixup"], learn["cutmix"]
    )


def recipe(bench: Bench, learn: Mapping[str, Any], seed: int) -> Recipe:
    """How long and how fast."""
    names = ("epochs", "warmup", "weight_decay", "patience", "clip", "parts", "average")
    return Recipe(steps_per_epoch=len(bench.train), seed=seed, **{name: learn[name] for name in names})


def conclude(setting: Setting, paths: Paths, tuned: Progress) -> Row:
    """Forgets the checkpoints, tells and gives the epoch that was kept."""
    if not rank():
        shutil.rmtree(paths.checkpoints, ignore_errors=True)
    best = min(tuned.rows, key=lambda row: row[Curve.VALIDATION_LOSS])
    told = setting.bench.goal.told(best[Curve.VALIDATION_SCORE])
    say(f"kept epoch {best[Curve.EPOCH]} of {tuned.epoch}: {told}")
    return best
