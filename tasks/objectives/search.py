"""Searches for the recipe that gains most over the probe, within a budget of image passes."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import torch

from tasks.core.progress import say
from tasks.core.schema import Column, Split
from tasks.core.sections import FinetuneSection
from tasks.data.folds import FOLDS, choosing_half, folds_by_group
from tasks.hardware.distributed import count, rank
from tasks.hardware.microbatches import MicroBatches
from tasks.models.weights_file import write
from tasks.objectives.context import TrainingContext
from tasks.objectives.finetuning import Numbers, Tuned
from tasks.objectives.plans import plan_on_labels, schedule_of
from tasks.objectives.recipe_fits import RecipeFits
from tasks.objectives.recipes import Recipe, Rung, passes, recipes_of, rungs_of
from tasks.objectives.search_report import SearchReport
from tasks.training.loop import Fit, step
from tasks.training.trainer import Trainer


def search(context: TrainingContext, section: FinetuneSection, seed: int) -> tuple[Tuned, Numbers]:
    """Fits the recipes in rungs, keeps the best point of the last one and writes its network and the report.

    With enough validation images, one half of them chooses. Otherwise there are fewer recipes and no halving, and
    outputs for calibration are written, each by a model that was chosen without the image.
    """
    files, validation = context.files, context.data.rows(Split.VALIDATION)
    half_V = choosing_half(validation)
    trainer = replace(context.trainer, caches={})
    if half_V is not None:
        chooses = validation[half_V].reset_index(drop=True)
        trainer = replace(trainer, validation=context.clean_batches(chooses))
    recipes = recipes_of(section, context.data.target, several_rates=half_V is not None)
    rungs = rungs_of(len(recipes), section.budget, halving=half_V is not None)
    announce(context, trainer, recipes, rungs, seed)
    fits = RecipeFits(context, trainer, seed, keep_outputs=half_V is None)
    for number, rung in enumerate(rungs):
        recipes = fits.ranked(number, recipes[: rung.recipes], rung.epochs)
    folds = min(FOLDS, validation[Column.GROUP].nunique())
    crossed = fits.out_of_fold(folds_by_group(validation, folds)) if half_V is None else None
    report = SearchReport(
        tuple(fits.state.done), fits.state.kept, trainer.validation.num_images, halved=half_V is not None
    )
    if not rank():
        shutil.copy(fits.curves(report.kept), trainer.curves)
        write(files.tuned, fits.state.weights)
        report.save(files.search)
        if crossed is not None:
            write(files.out_of_fold, {"outputs": crossed})
    return fits.tuned(), {**trainer.cache_counts, "alpha": report.alpha, "image_passes": float(report.passes)}


def announce(
    context: TrainingContext, trainer: Trainer, recipes: Sequence[Recipe], rungs: Sequence[Rung], seed: int
) -> None:
    """Says what is compared, and an upper estimate of its minutes, from a step of the whole network."""
    total = passes(rungs, trainer.train.num_images)
    minutes = seconds_per_image(context, trainer, recipes[0], seed) * total / 60
    say(
        f"{len(recipes)} recipes are compared in {total} image passes, about {max(round(minutes), 1)} min or less "
        "here; finetune.budget sets the passes, finetune.recipe: fixed trains one recipe for finetune.epochs"
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
    for batch in islice(trainer.train.shuffled(0, seed, trainer.draw_NVP, trainer.style), 2):
        step(fit, batch, optimizer, micro)
        seconds = (time.perf_counter() - started) / len(batch.inputs) / count()
        started = time.perf_counter()
    return seconds
