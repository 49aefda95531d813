"""Where candidates are trained: one set of data, one machine, one curve file, a checkpoint each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from tasks.core.progress import percent, say
from tasks.core.schema import Candidate, Column, Curve
from tasks.hardware.device import Device
from tasks.hardware.distributed import count, rank, synchronised
from tasks.images.loading import Squares
from tasks.images.transforms import DRAW, Style
from tasks.models.freezing import Names, learn_mode, thaw, unfrozen
from tasks.models.frozen_prefix import split
from tasks.scorer.scorer import Network, Preprocessing
from tasks.training.activation_cache import Cached, fits
from tasks.training.batches import Answers, Batches
from tasks.training.checkpoint import FileCheckpoint
from tasks.training.compiled import compiled_fit
from tasks.training.goal import Goal
from tasks.training.loop import Recipe, fit, score
from tasks.training.mixed_batches import Mixed
from tasks.training.state import Progress, Row
from tasks.training.types import Batch, Judge, MeasureMore, Objective, Scored

HELPER = "helper"
SAVE_SECONDS = 10.0  # between checkpoints: what a kill may cost


@dataclass(frozen=True)
class Lesson:
    """What of a network learns, how fast (parameter groups with a `rate`), and by which loss."""

    learning: Sequence[Names]
    groups: Sequence[dict[str, Any]]
    objective: Objective
    batch_statistics: bool
    smoothing: float = 0.0  # of the labels in that loss, for who makes it anew
    every: int = 0  # epochs until one more block learns; 0: all from the start
    passes: int = 1  # over the training images, in an epoch
    dropout: bool = False
    cache: float = 0.0  # GiB of activations of the frozen prefix
    compile: bool = False  # what learns
    train: Mixed | None = None  # batches of its own, of inputs and never of activations
    helper: nn.Module | None = None  # learns with the network, and is left behind
    begin: Callable[[int, Network], None] = lambda _epoch, _network: None  # before an epoch
    validate: Callable[[Network], Scored] | None = None  # instead of the loss on validation
    eligible: Judge = lambda _rows: True
    enough: Judge = lambda _rows: False
    finish: Callable[[Network], dict[str, float]] = lambda _network: {}  # after the fit; numbers for the report


@dataclass(frozen=True)
class Bench:
    """What the candidates share: batches, the planned views (N, V, P) of the training images, and where they report."""

    train: Batches
    validation: Batches
    draw_NVP: Tensor
    style: Style
    device: Device
    checkpoints: Path
    curves: Path
    goal: Goal
    measure: MeasureMore
    before: tuple[int, int] = (0, 0)  # epochs and steps of earlier rounds, in the curve
    saved: dict[str, float] = field(default_factory=dict)  # for the report: how often the frozen blocks were computed

    def fit(self, candidate: Candidate, network: Network, recipe: Recipe, lesson: Lesson, key: str = "") -> Progress:
        """Fits one candidate. Its rows go to the curve file, its state to a checkpoint of its own, and of this key."""
        self.device.place(network)
        if lesson.batch_statistics:
            synchronised(network, self.device.device)
        recipe = replace(recipe, steps_per_epoch=len(lesson.train or self.train) * lesson.passes)
        learner, train, validation = self._short_cut(network, recipe, lesson)
        if lesson.helper:
            learner.add_module(HELPER, self.device.place(lesson.helper))
        with compiled_fit(learner.backbone, wanted=lesson.compile):
            progress = fit(
                learner,
                self._epochs(train, recipe, lesson),
                self._validation(learner, network, validation, lesson),
                lesson.objective,
                recipe,
                groups=lesson.groups,
                learn_mode=partial(_make_ready, network, lesson),
                device=self.device,
                checkpoint=FileCheckpoint(self.checkpoints / f"{candidate.slug}{key}.safetensors", SAVE_SECONDS),
                on_row=partial(self._note, candidate, recipe.epochs),
                eligible=lesson.eligible,
                enough=lesson.enough,
            )
        if lesson.helper:
            delattr(learner, HELPER)
        if isinstance(train, Cached) and isinstance(validation, Cached):
            self._tell_saved(train.asked + validation.asked, train.computed + validation.computed)
        return progress

    def _note(self, candidate: Candidate, epochs: int, row: Row) -> None:
        if rank():
            return
        with self.curves.open("a", encoding="utf-8") as file:
            epoch, step = self.before
            at = {Curve.EPOCH: row[Curve.EPOCH] + epoch, Curve.STEP: row[Curve.STEP] + step}
            file.write(json.dumps({Curve.CANDIDATE: candidate, **row, **at}) + "\n")
        told = self.goal.told(row[Curve.VALIDATION_SCORE])
        say(percent(int(row[Curve.EPOCH]), epochs, f"epochs {candidate}, {told}"))

    def _tell_saved(self, asked: int, computed: int) -> None:
        say(f"frozen blocks computed for {computed} pictures instead of {asked}")
        for name, count_ in (("frozen_blocks_asked", asked), ("frozen_blocks_computed", computed)):
            self.saved[name] = self.saved.get(name, 0.0) + count_

    def _epochs(self, train: Batches | Cached, recipe: Recipe, lesson: Lesson) -> Callable[[int], Iterable[Batch]]:
        """The batches of an epoch: the lesson's own, or each picture in the view whose turn it is."""
        if lesson.train:
            return lesson.train.epoch
        one = partial(train.shuffled, seed=recipe.seed, draw_NVP=self.draw_NVP, style=self.style)
        return lambda epoch: chain.from_iterable(map(one, range(epoch * lesson.passes, (epoch + 1) * lesson.passes)))

    def _validation(
        self, learner: Network, network: Network, validation: Batches | Cached, lesson: Lesson
    ) -> Callable[[], Scored]:
        """How an epoch is measured: the lesson's own way, or on the validation images."""
        if lesson.validate:
            return partial(lesson.validate, network)
        return lambda: score(learner, validation.clean(), self.device, self.measure)

    def _short_cut(
        self, network: Network, recipe: Recipe, lesson: Lesson
    ) -> tuple[Network, Batches | Cached, Batches | Cached]:
        """The part that learns, on the frozen prefix's activations, where that can be had; else all as it is."""
        halves = (
            split(network.backbone.eval(), lesson.learning) if lesson.cache and recipe.epochs and count() == 1 else None
        )
        views, folder = min(self.draw_NVP.shape[1], recipe.epochs), self.checkpoints.parent
        if halves and lesson.dropout and any(isinstance(layer, nn.Dropout) for layer in halves[0].modules()):
            halves = None  # what drops out at random is no activation to keep
        if halves is None or not fits(halves[0], self.train, self.validation, self.device, folder, views, lesson.cache):
            return network, self.train, self.validation
        prefix, rest = halves
        train, validation = (Cached(own, prefix, self.device, folder) for own in (self.train, self.validation))
        return Network(rest, network.head), train, validation


def _make_ready(network: Network, lesson: Lesson, epoch: int) -> None:
    lesson.begin(epoch, network)
    now = unfrozen(lesson.learning, epoch, lesson.every)
    thaw(network.backbone, now)
    learn_mode(network, now, batch_statistics=lesson.batch_statistics, dropout=lesson.dropout)


def with_helper(lesson: Lesson, helper: nn.Module | None) -> Lesson:
    """The lesson with a module that learns at the head's rate and is left behind."""
    if helper is None:
        return lesson
    return replace(
        lesson,
        helper=helper,
        groups=[*lesson.groups, {"params": list(helper.parameters()), "rate": lesson.groups[0]["rate"]}],
    )


def batches(
    root: Path,
    rows: pd.DataFrame,
    y: Tensor,
    weight_N: Tensor,
    preprocessing: Preprocessing,
    device: Device,
    size: int,
    memory: float,
    *,
    drawn: bool = False,
    answers: Answers | None = None,
) -> Batches:
    """Batches of these rows of the manifest, weighted or `drawn` by `weight_N`; `memory` in GiB."""
    squares = Squares(root, list(rows[Column.PATH]), preprocessing, memory)
    return Batches(squares, y, weight_N, preprocessing, device, size, drawn=drawn, answers=answers)


def weights_of(rows: pd.DataFrame) -> Tensor:
    """How much each row counts, (N,)."""
    return torch.tensor(rows[Column.WEIGHT].to_numpy(), dtype=torch.float32)


def draws(plan: pd.DataFrame, pictures: int) -> Tensor:
    """The planned views as (N, V, P), N pictures in the order of the plan."""
    return torch.tensor(plan[list(DRAW)].to_numpy(), dtype=torch.float32).view(pictures, -1, len(DRAW))
