"""Fits recipes one after the other and keeps the best point, by the gain in validation loss over the probe.

Shapes: V validation images that choose, C classes or labels, K targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tasks.core.errors import RootstockError
from tasks.core.progress import say
from tasks.core.schema import Candidate, Curve
from tasks.hardware.distributed import all_gather, rank, shard
from tasks.models.networks import probe_network, shrink_head
from tasks.objectives.context import TrainingContext
from tasks.objectives.finetuning import Tuned
from tasks.objectives.out_of_fold import PROBE, out_of_fold
from tasks.objectives.plans import plan_on_labels, schedule_of
from tasks.objectives.recipes import Recipe
from tasks.objectives.search_report import RecipeFit
from tasks.objectives.search_state import SearchState
from tasks.scorer.network import Network
from tasks.training.batches import split_evenly
from tasks.training.checkpoint import FileCheckpoint
from tasks.training.interpolation import WORST, gain_of, worth
from tasks.training.kinds import row_loss_for
from tasks.training.loop import NOT_FINITE, outputs
from tasks.training.state import Interpolated, Progress, Tensors
from tasks.training.trainer import Trainer
from tasks.training.types import Outputs


class RecipeFits:
    """Fits on the data of `trainer`; with `keep_outputs`, the outputs at all points are kept for calibration."""

    def __init__(self, context: TrainingContext, trainer: Trainer, seed: int, *, keep_outputs: bool) -> None:
        self._context, self._trainer, self._seed = context, trainer, seed
        self._row_loss = row_loss_for(context.data.target, context.data.balance)
        self._probe = probe_network(
            context.fresh_backbone(), context.files.head_weights, context.data.target.num_outputs
        )
        self._probe_outputs = self._outputs(self._probe)
        self._probe_loss_V = self._loss(self._probe_outputs)
        self._keep_outputs = keep_outputs
        self._checkpoint = FileCheckpoint(trainer.checkpoints / "search.safetensors")
        self.state = SearchState.load(self._checkpoint)

    def ranked(self, rung: int, recipes: Sequence[Recipe], epochs: int) -> list[Recipe]:
        """Fits the recipes, those that are not done yet, and returns them with the best first.

        Raises RootstockError if no fit so far has a finite loss.
        """
        fits = [self._done(rung, recipe) or self._fit(rung, recipe, epochs) for recipe in recipes]
        if not self.state.weights:
            raise RootstockError(
                "the losses of all recipes are not finite: lower finetune.rate and finetune.head_rate", key=NOT_FINITE
            )
        order = sorted(range(len(recipes)), key=lambda place: -fits[place].worth)
        return [recipes[place] for place in order]

    def curves(self, place: int) -> Path:
        """Returns the file with the curve of a fit, by its place."""
        return self._trainer.checkpoints / f"curves-{place}.jsonl"

    def tuned(self) -> Tuned:
        """Returns the kept fit; the seconds are those of all fits."""
        progress, fit = self.state.progress, self.state.best
        if fit.worth <= 0:
            score = self._trainer.scoring(self._probe_outputs).score
            progress = replace(progress, interpolated=Interpolated(0.0, score, {}))
        elif progress.kept == len(progress.rows) - 1:  # else, without interpolation, it is the best epoch
            progress = replace(progress, interpolated=Interpolated(fit.alpha, fit.score, {}))
        steps = int(progress.rows[-1][Curve.STEP])
        return Tuned(progress, 0, steps, self.state.seconds, recipe=fit.recipe)

    def out_of_fold(self, fold_V: np.ndarray) -> Tensor:
        """Returns the outputs (V, C) for calibration, in manifest order, given the folds (V,)."""
        batches, target = self._trainer.validation, self._context.data.target
        parts = split_evenly(torch.arange(batches.num_images), len(batches))
        order_V = all_gather(torch.cat([shard(part) for part in parts]))  # of the outputs of several processes
        at = {PROBE: self._probe_outputs.output.cpu(), **self.state.outputs}
        fold_V, y = fold_V[order_V.numpy()], self._probe_outputs.target.cpu()
        return out_of_fold(at, y, fold_V, self._row_loss, target.kind)[order_V.argsort()]

    def _done(self, rung: int, recipe: Recipe) -> RecipeFit | None:
        return next((fit for fit in self.state.done if (fit.rung, fit.recipe) == (rung, recipe.name)), None)

    def _fit(self, rung: int, recipe: Recipe, epochs: int) -> RecipeFit:
        place = len(self.state.done)
        key = f"-{place}"
        torch.manual_seed(self._seed)
        network, plan = plan_on_labels(self._context, recipe.section)
        shrink_head(network.head, recipe.head_scale)
        if not rank():
            self.curves(place).parent.mkdir(parents=True, exist_ok=True)
            self.curves(place).unlink(missing_ok=True)
        trainer = replace(self._trainer, curves=self.curves(place), choose_alpha=self._choose_alpha)
        schedule = replace(schedule_of(recipe.section, len(trainer.train), self._seed), epochs=epochs)
        try:
            progress = trainer.fit(Candidate.TUNED, network, schedule, plan, key)
        except RootstockError as error:
            if error.key != NOT_FINITE:
                raise
            fit = self._record_diverged(rung, recipe, epochs)
        else:
            fit = self._record(rung, recipe, network, progress)
        self.state.save(self._checkpoint)
        if not rank():
            (trainer.checkpoints / f"{Candidate.TUNED.slug}{key}.safetensors").unlink(missing_ok=True)
        return fit

    def _record(self, rung: int, recipe: Recipe, network: Network, progress: Progress) -> RecipeFit:
        state, points = self.state, self._points(network, progress)
        alpha = self._choose_alpha(points)
        loss_V = self._loss(points[alpha])
        gain, error = gain_of(self._probe_loss_V, loss_V)
        value = worth(self._probe_loss_V, loss_V, alpha)
        if value == WORST:
            return self._record_diverged(rung, recipe, progress.epoch)
        score = self._trainer.scoring(points[alpha]).score
        passes = progress.epoch * self._trainer.train.num_images
        fit = RecipeFit(
            rung, recipe.name, recipe.section.rate, progress.epoch, passes, value, alpha, score, gain, error
        )
        if self._keep_outputs:
            finite = {alpha: at.output.cpu() for alpha, at in points.items() if at.output.isfinite().all()}
            state.outputs |= {(len(state.done), alpha): output for alpha, output in finite.items()}
        if not state.weights or state.best.rung < rung or value > state.best.worth:
            state.kept, state.progress = len(state.done), replace(progress, best={}, interpolated=None)
            state.weights = state_of(network if value > 0 else self._probe)
        state.done.append(fit)
        state.seconds += progress.seconds
        score_text = self._context.data.target.describe(score)
        say(f"{fit.recipe}: {score_text}, gain in loss {gain:+.3f} +- {error:.3f}")
        return fit

    def _record_diverged(self, rung: int, recipe: Recipe, epochs: int) -> RecipeFit:
        passes = epochs * self._trainer.train.num_images
        fit = RecipeFit(rung, recipe.name, recipe.section.rate, epochs, passes, WORST)
        self.state.done.append(fit)
        say(f"{fit.recipe}: the loss is not finite")
        return fit

    def _points(self, network: Network, progress: Progress) -> dict[float, Outputs]:
        """Returns the outputs at each alpha above 0, or those of the best epoch at 1 if there is no interpolation."""
        if progress.interpolated is None:
            return {1.0: self._outputs(network)}
        return {alpha: at for alpha, at in progress.interpolated.outputs.items() if alpha}

    def _choose_alpha(self, outputs_at: Mapping[float, Outputs]) -> float:
        """Returns the best alpha above 0, against the probe itself: a small head's start is it only up to a factor."""
        losses = {alpha: self._loss(at) for alpha, at in outputs_at.items() if alpha}
        return max(sorted(losses), key=lambda alpha: worth(self._probe_loss_V, losses[alpha], alpha))

    def _loss(self, at: Outputs) -> Tensor:
        return self._row_loss(at.output, at.target)

    def _outputs(self, network: Network) -> Outputs:
        self._trainer.device.place(network)
        return outputs(network, self._trainer.validation.clean(), self._trainer.device)


def state_of(network: Network) -> Tensors:
    """Copies the state of a network to the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
