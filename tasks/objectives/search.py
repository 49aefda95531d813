"""Searches for the recipe that gains most over the probe, within a budget of image passes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice

import torch

from tasks.core.errors import RootstockError
from tasks.core.progress import say
from tasks.core.schema import Column, Split
from tasks.core.sections import FinetuneSection
from tasks.core.target import TargetKind
from tasks.data.folds import FOLDS, choosing_half, folds_by_group
from tasks.hardware.distributed import count, rank
from tasks.hardware.microbatches import MicroBatches
from tasks.models.weights_file import write
from tasks.objectives.context import TrainingContext
from tasks.objectives.finetuning import Numbers, Tuned
from tasks.objectives.plans import plan_on_labels, schedule_of
from tasks.objectives.recipe_fits import RecipeFits
from tasks.objectives.recipes import Recipe, Rung, passes, recipes_of, rungs_of
from tasks.objectives.search_report import CalibratedBy, SearchReport
from tasks.objectives.search_state import SearchState
from tasks.training.activation_cache import SharedCaches
from tasks.training.loop import Fit, step
from tasks.training.trainer import Trainer

CALIBRATIONS: Mapping[TargetKind, CalibratedBy] = {  # with few validation images
    TargetKind.CLASSIFICATION: CalibratedBy.OUT_OF_FOLD,
    TargetKind.MULTILABEL: CalibratedBy.OUT_OF_FOLD,
    TargetKind.REGRESSION: CalibratedBy.NOTHING,
}


def search(context: TrainingContext, section: FinetuneSection, seed: int) -> tuple[Tuned, Numbers]:
    """Fits the recipes in rungs, and writes the network of the best point and the report.

    Raises RootstockError if no recipe can be trained.
    """
    files, kind, validation = context.files, context.data.target.kind, context.data.rows(Split.VALIDATION)
    half_V, calibrated_by = choosing_half(validation), CALIBRATIONS[kind]
    recipes = recipes_of(section, context.data.target)
    rungs = rungs_of(len(recipes), section.budget, halving=half_V is not None)
    trainer = replace(context.trainer, shared=SharedCaches(max(rung.epochs for rung in rungs)))
    if half_V is not None and calibrated_by is CalibratedBy.OUT_OF_FOLD:
        calibrated_by = CalibratedBy.OTHER_HALF
        trainer = replace(trainer, validation=context.clean_batches(validation[half_V].reset_index(drop=True)))
    fits = RecipeFits(context, trainer, seed, keep_outputs=calibrated_by is CalibratedBy.OUT_OF_FOLD)
    announce(context, trainer, recipes, rungs, fits.state, seed)
    for number, rung in enumerate(rungs):
        recipes = fits.ranked(number, recipes[: rung.recipes], rung.epochs)
    report = SearchReport(tuple(fits.state.done), fits.state.kept, trainer.validation.num_images, calibrated_by)
    folds_V = folds_by_group(validation, min(FOLDS, validation[Column.GROUP].nunique()))
    calibrating = fits.out_of_fold(folds_V) if calibrated_by is CalibratedBy.OUT_OF_FOLD else None
    if not rank():
        shutil.copy(fits.curves(fits.state.best), trainer.curves)
        write(files.tuned, fits.state.weights)
        report.save(files.search)
        if calibrating is not None:
            write(files.out_of_fold, {"outputs": calibrating})
    return fits.tuned(), {**trainer.cache_counts, "alpha": report.alpha, "image_passes": float(report.passes)}


def announce(
    context: TrainingContext,
    trainer: Trainer,
    recipes: Sequence[Recipe],
    rungs: Sequence[Rung],
    state: SearchState,
    seed: int,
) -> None:
    """Says what is compared, and estimates the minutes that are left from a training step of the whole network."""
    total = passes(rungs, trainer.train.num_images)
    left = total - sum(fit.passes for fit in state.done)
    try:
        minutes = f"about {max(round(seconds_per_image(context, trainer, recipes[0], seed) * left / 60), 1)} min"
    except RootstockError:  # out of memory, on which each fit decides by itself
        minutes = "some time"
    say(
        f"{len(recipes)} recipes are compared in {total} image passes, which takes {minutes} here; finetune.budget "
        "sets the passes, and finetune.recipe: fixed trains one recipe for finetune.epochs"
    )


def seconds_per_image(context: TrainingContext, trainer: Trainer, recipe: Recipe, seed: int) -> float:
    """Times the second training step, with its images' views, or the first of a single one."""
    network, plan = plan_on_labels(context, recipe.section)
    trainer.device.place(network)
    plan.prepare_epoch(network, 0)
    fit = Fit(network, plan.loss, schedule_of(recipe.section, len(trainer.train), seed), trainer.device)
    parameters = [parameter for group in plan.groups for parameter in group.parameters]
    optimizer, micro = torch.optim.SGD(parameters, lr=0.0), MicroBatches(recipe.section.parts)
    seconds, started = 0.0, time.perf_counter()
    for batch in islice(trainer.train.shuffled(0, seed, trainer.views, trainer.style), 2):
        step(fit, batch, optimizer, micro)
        seconds = (time.perf_counter() - started) / len(batch.inputs) / count()
        started = time.perf_counter()
    return seconds
