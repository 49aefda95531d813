"""Fine-tunes from the probe and trains the baseline from random weights: the parts of the finetune stage."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

import torch

from tasks.core.objective_sections import Objective, ObjectiveParams
from tasks.core.paths import Paths
from tasks.core.progress import say
from tasks.core.schema import Candidate, Curve
from tasks.core.sections import BackboneParams, FinetuneSection, refuse_tuning
from tasks.core.target import TargetSpec
from tasks.hardware.distributed import rank
from tasks.models.freezing import EVERYTHING, freeze_all_but_last, parameter_groups, set_dropout
from tasks.models.networks import scratch_network
from tasks.models.weights_file import write
from tasks.objectives.context import TrainingContext
from tasks.objectives.plans import loss_on_labels, plan_on_labels, schedule_of
from tasks.objectives.registry import Request, build_plan, check_supported
from tasks.objectives.requirements import DOMAIN_ADAPTATION
from tasks.scorer.network import Network
from tasks.training.plan import TrainingPlan
from tasks.training.state import Progress
from tasks.training.types import Row

Numbers = dict[str, float]  # for the report


@dataclass(frozen=True)
class Tuned:
    """The last round of the kept fit, its preceding epochs, the steps of all rounds, the seconds of all attempts.

    `recipe` names the kept one of a search, or is empty.
    """

    progress: Progress
    before: int
    steps: int
    seconds: float
    recipe: str = ""

    @property
    def best(self) -> Row:
        """Returns the kept row; its epoch is counted across all rounds, as in the curve."""
        row = self.progress.rows[self.progress.kept]
        row = {**row, Curve.EPOCH: row[Curve.EPOCH] + self.before}
        if self.progress.interpolated:
            row[Curve.VALIDATION_SCORE] = self.progress.interpolated.score
        return row


@dataclass(frozen=True)
class Attempt:
    """A fit with one adaptation-loss weight: its result, network, numbers for the report, and curve."""

    weight: float
    curves: Path
    tuned: Tuned
    network: Network
    numbers: Numbers


def check_tunable(context: TrainingContext, section: FinetuneSection, objective: Objective) -> None:
    """Raises ParamsError if the head cannot be fine-tuned, or a requirement of the objective is missing."""
    refuse_tuning(context.head["kind"], section.epochs)
    check_supported(context.data, objective, mixed=bool(section.mixup or section.cutmix))


def tune(
    context: TrainingContext, section: FinetuneSection, methods: ObjectiveParams, seed: int
) -> tuple[Tuned, Numbers]:
    """Fine-tunes from the probe (LP-FT, Kumar et al., 2022) and writes the network.

    With several adaptation-loss weights, the best model is kept.
    """
    weighted = methods.objective in DOMAIN_ADAPTATION - {Objective.BATCHNORM}
    weights = methods.domain.weights if weighted else (0.0,)
    trainer = context.trainer
    files = [trainer.curves]
    if len(weights) > 1:
        files = [trainer.checkpoints / f"curves-{weight:g}.jsonl" for weight in weights]
    attempts = [fit_with(context, section, methods, seed, *each) for each in zip(weights, files, strict=True)]
    best = min(attempts, key=lambda attempt: attempt.tuned.progress.lowest)
    if len(weights) > 1:
        shutil.copy(best.curves, trainer.curves)
    if not rank():
        write(context.files.tuned, best.network.state_dict())
    numbers = best.numbers | trainer.cache_counts | ({"weight": best.weight} if weighted else {})
    seconds = sum(attempt.tuned.seconds for attempt in attempts)
    return replace(best.tuned, seconds=seconds), numbers | extra_columns(best.tuned.progress)


def fit_with(
    context: TrainingContext, section: FinetuneSection, methods: ObjectiveParams, seed: int, weight: float, curves: Path
) -> Attempt:
    """Fits with one adaptation-loss weight; with pseudo-labels, in `unlabelled.rounds` rounds."""
    torch.manual_seed(seed)  # seeds the auxiliary module
    network, base = plan_on_labels(context, section)
    if methods.objective is not Objective.LABELS:
        base = replace(base, alphas=())  # these choose the epoch by criteria of their own
    if curves != context.trainer.curves:
        curves.parent.mkdir(parents=True, exist_ok=True)
        curves.unlink(missing_ok=True)
    itself = methods.model_copy(update={"teacher": methods.teacher.model_copy(update={"weights": None})})
    tuned, plan, epochs = Tuned(Progress(), 0, 0, 0.0), base, 0
    for turn in range(methods.unlabelled.rounds if methods.objective is Objective.PSEUDO_LABELS else 1):
        request = Request(context, itself if turn else methods, network, base, section.epochs, weight)
        trainer, plan = build_plan(request)
        trainer = replace(trainer, curves=curves, offset=(epochs, tuned.steps))
        schedule = schedule_of(section, len(trainer.train), seed)
        progress = trainer.fit(Candidate.TUNED, network, schedule, plan, f"{weight:g}-{turn}")
        if progress.interpolated:  # their outputs would stay in memory
            progress.interpolated = replace(progress.interpolated, outputs={})
        steps = tuned.steps + int(progress.rows[-1][Curve.STEP])
        tuned = Tuned(progress, epochs, steps, tuned.seconds + progress.seconds)
        epochs += progress.epoch
    return Attempt(weight, curves, tuned, network, plan.finish(network))


def extra_columns(progress: Progress) -> Numbers:
    """Returns the extra columns of the best epoch, plus the oracle score (best epoch by target labels) if recorded."""
    if progress.interpolated:
        return {"alpha": progress.interpolated.alpha}
    usual = {Curve.CANDIDATE, Curve.EPOCH, Curve.STEP, Curve.TRAIN_LOSS, Curve.VALIDATION_LOSS, Curve.VALIDATION_SCORE}
    numbers = {name: value for name, value in progress.rows[progress.kept].items() if name not in usual}
    if Curve.TARGET_SCORE in numbers:
        numbers["oracle_score"] = max(row[Curve.TARGET_SCORE] for row in progress.rows)
    return numbers


def from_scratch(
    context: TrainingContext, params: BackboneParams, section: FinetuneSection, lr: float, tuned: Tuned, seed: int
) -> float:
    """Trains the same network from random weights on labeled images, for as many steps as `tuned`, and writes it.

    Returns the training time in seconds.
    """
    trainer, target = context.trainer, context.data.target
    network = scratch_network(context.backbone.architecture, params.cut, context.head, target, seed)
    learning = freeze_all_but_last(network.backbone, EVERYTHING)
    set_dropout(network.backbone, section.dropout, section.stochastic_depth)
    all_passes = ceil(tuned.steps / len(trainer.train))
    passes = max(all_passes // section.epochs, 1)  # unlabeled images can add many steps to a small labeled set
    plan = TrainingPlan(
        learning,
        parameter_groups(network, learning, lr, lr, layer_lr_decay=1),
        loss_on_labels(context.data, section),
        batch_statistics=True,
        passes=passes,
        dropout=bool(section.dropout),
        compile=section.compile,
    )
    epochs = ceil(all_passes / passes)
    schedule = replace(schedule_of(section, len(trainer.train), seed), epochs=epochs, patience=epochs)
    progress = trainer.fit(Candidate.SCRATCH, network, schedule, plan)
    if not rank():
        write(context.files.scratch, network.state_dict())
    return progress.seconds


def conclude(paths: Paths, target: TargetSpec, tuned: Tuned) -> None:
    """Deletes the checkpoints and reports the kept epoch."""
    if not rank():
        shutil.rmtree(paths.checkpoints, ignore_errors=True)
    score_text = target.describe(tuned.best[Curve.VALIDATION_SCORE])
    epochs = tuned.before + tuned.progress.epoch
    if tuned.progress.interpolated is None:
        say(f"kept epoch {tuned.best[Curve.EPOCH]} of {epochs}: {score_text}")
    elif alpha := tuned.progress.interpolated.alpha:
        recipe = f" ({tuned.recipe})" if tuned.recipe else ""
        say(f"kept {alpha:g} of the way from the probe to epoch {epochs}{recipe}: {score_text}")
    else:
        say(f"kept the probe: {epochs} epochs of fine-tuning gained too little to tell from chance: {score_text}")
