"""The trainer: fits candidates on the same data and device, with one curve file and a checkpoint each."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import chain
from pathlib import Path

from torch import nn

from tasks.core.progress import say, say_progress
from tasks.core.schema import Candidate, Curve
from tasks.core.target import TargetSpec
from tasks.hardware.device import Device
from tasks.hardware.distributed import count, rank, synchronize_batchnorm
from tasks.images.transforms import RenderStyle
from tasks.images.views import Views
from tasks.models.frozen_prefix import split_at_first_trainable
from tasks.scorer.network import Network
from tasks.training.activation_cache import CachedBatches, Caches, SharedCaches, fits, image_counts
from tasks.training.batches import Batches
from tasks.training.checkpoint import FileCheckpoint
from tasks.training.compiled import compiled_fit
from tasks.training.interpolation import ChooseAlpha, between
from tasks.training.loop import Schedule, fit, outputs, score
from tasks.training.plan import TrainingPlan
from tasks.training.state import Interpolated, Progress, Tensors, trained_tensors
from tasks.training.types import Batch, Row, Score, Scoring

AUXILIARY = "auxiliary"
SAVE_SECONDS = 10.0  # between checkpoints: the most training that is lost if the process is killed


@dataclass(frozen=True)
class Trainer:
    """The data, device and files that candidates share; `views` are the training images'."""

    train: Batches
    validation: Batches
    views: Views
    style: RenderStyle
    device: Device
    checkpoints: Path
    curves: Path
    target: TargetSpec
    scoring: Scoring
    choose_alpha: ChooseAlpha
    offset: tuple[int, int] = (0, 0)  # epochs and steps of earlier rounds, added to the curve's
    cache_counts: dict[str, float] = field(default_factory=dict)  # for the report
    shared: SharedCaches | None = None

    def fit(
        self, candidate: Candidate, network: Network, schedule: Schedule, plan: TrainingPlan, key: str = ""
    ) -> Progress:
        """Fits one candidate. Appends its rows to the curve file; the checkpoint is named by candidate and `key`."""
        self.device.place(network)
        if plan.batch_statistics:
            synchronize_batchnorm(network, self.device.device)
        schedule = replace(schedule, steps_per_epoch=len(plan.train or self.train) * plan.passes)
        learner, train, validation = self._without_prefix(network, schedule, plan)
        before = image_counts(train, validation)
        if plan.auxiliary_module:
            learner.add_module(AUXILIARY, self.device.place(plan.auxiliary_module))
        first = trained_tensors(learner, plan.groups) if plan.interpolates else {}
        with compiled_fit(learner.backbone, enabled=plan.compile):
            progress = fit(
                learner,
                self._epochs(train, schedule, plan),
                partial(self._validate, learner, network, validation, plan),
                plan.loss,
                schedule,
                groups=plan.groups,
                prepare_epoch=partial(plan.prepare_epoch, network),
                device=self.device,
                checkpoint=FileCheckpoint(self.checkpoints / f"{candidate.slug}{key}.safetensors", SAVE_SECONDS),
                on_row=partial(self._log_row, candidate, schedule.epochs),
                callbacks=plan.callbacks,
                keep_last=bool(first),
            )
        if plan.auxiliary_module:
            delattr(learner, AUXILIARY)
        if first and progress.epoch:
            self._interpolate(learner, first, validation, plan, progress)
        if isinstance(train, CachedBatches):
            self._count_cached(*(now - then for now, then in zip(image_counts(train, validation), before, strict=True)))
        return progress

    def _interpolate(
        self,
        learner: Network,
        first: Tensors,
        validation: Batches | CachedBatches,
        plan: TrainingPlan,
        progress: Progress,
    ) -> None:
        """Leaves the network at the best point between the weights `first` and the present ones, by validation."""
        last = trained_tensors(learner, plan.groups)

        def move(alpha: float) -> None:
            learner.load_state_dict(between(first, last, alpha), strict=False)

        outputs_at = {}
        for alpha in (0.0, *plan.alphas):
            move(alpha)
            outputs_at[alpha] = outputs(learner, validation.clean(), self.device)
        alpha = self.choose_alpha(outputs_at)
        move(alpha)
        progress.kept = len(progress.rows) - 1
        progress.interpolated = Interpolated(alpha, self.scoring(outputs_at[alpha]).score, outputs_at)

    def _log_row(self, candidate: Candidate, epochs: int, row: Row) -> None:
        if rank():
            return
        with self.curves.open("a", encoding="utf-8") as file:
            epoch, step = self.offset
            at = {Curve.EPOCH: row[Curve.EPOCH] + epoch, Curve.STEP: row[Curve.STEP] + step}
            file.write(json.dumps({Curve.CANDIDATE: candidate, **row, **at}) + "\n")
        score_text = self.target.describe(row[Curve.VALIDATION_SCORE])
        say_progress(int(row[Curve.EPOCH]), epochs, f"epochs {candidate}, {score_text}")

    def _count_cached(self, asked: int, computed: int) -> None:
        say(f"frozen blocks computed for {computed} images instead of {asked}")
        for name, count_ in (("frozen_blocks_asked", asked), ("frozen_blocks_computed", computed)):
            self.cache_counts[name] = self.cache_counts.get(name, 0.0) + count_

    def _epochs(
        self, train: Batches | CachedBatches, schedule: Schedule, plan: TrainingPlan
    ) -> Callable[[int], Iterable[Batch]]:
        """Returns a function from an epoch to its batches: the plan's, or each image under the epoch's view."""
        if plan.train:
            return plan.train.epoch
        one = partial(train.shuffled, seed=schedule.seed, views=self.views, style=self.style)
        return lambda epoch: chain.from_iterable(map(one, range(epoch * plan.passes, (epoch + 1) * plan.passes)))

    def _validate(
        self, learner: Network, network: Network, validation: Batches | CachedBatches, plan: TrainingPlan
    ) -> Score:
        """Scores an epoch with the first callback that returns a score, else on the validation images."""
        scores = (callback.validate(network) for callback in plan.callbacks)
        by_callback = next((scored for scored in scores if scored is not None), None)
        return by_callback or score(learner, validation.clean(), self.device, self.scoring)

    def _without_prefix(
        self, network: Network, schedule: Schedule, plan: TrainingPlan
    ) -> tuple[Network, Batches | CachedBatches, Batches | CachedBatches]:
        """Returns the trainable remainder with cached prefix activations if possible, else everything unchanged."""
        unchanged = (network, self.train, self.validation)
        if not (plan.cache_gib and schedule.epochs and count() == 1):
            return unchanged
        halves = split_at_first_trainable(network.backbone.eval(), plan.learning)
        if halves is None or (plan.dropout and any(isinstance(layer, nn.Dropout) for layer in halves[0].modules())):
            return unchanged  # activations after dropout cannot be cached
        prefix, rest = halves
        caches = self._caches(prefix, schedule.epochs, plan)
        return (Network(rest, network.head), *caches) if caches else unchanged

    def _caches(self, prefix: nn.Module, epochs: int, plan: TrainingPlan) -> Caches | None:
        """Returns the activations of this prefix, those of an earlier fit if they are shared, or None without room."""
        layers, folder = tuple(plan.learning), self.checkpoints.parent
        if self.shared and layers in self.shared.by_layers:
            return self.shared.by_layers[layers]
        views = min(self.views.count, self.shared.epochs if self.shared else epochs)
        if not fits(prefix, self.train, self.validation, self.device, folder, views, plan.cache_gib):
            return None
        train, validation = (
            CachedBatches(batches, prefix, self.device, folder) for batches in (self.train, self.validation)
        )
        if self.shared:
            self.shared.by_layers[layers] = train, validation
        return train, validation
