"""Fits recipes one after the other and keeps the best point, by the gain in validation loss over the probe.

Shapes: V validation images that choose, C classes or labels, K targets.
"""

from __future__ import annotations

import re
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
from tasks.hardware.microbatches import OUT_OF_MEMORY
from tasks.models.networks import probe_network, shrink_head
from tasks.objectives.context import TrainingContext
from tasks.objectives.finetuning import Tuned
from tasks.objectives.out_of_fold import PROBE, out_of_fold
from tasks.objectives.plans import plan_on_labels, schedule_of
from tasks.objectives.recipes import Recipe
from tasks.objectives.search_report import PROBE_KEPT, RecipeFit
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

PASSED_OVER = {NOT_FINITE: "the loss is not finite", OUT_OF_MEMORY: "it does not fit into the device's memory"}


class RecipeFits:
    """Fits on the data of `trainer`; with `keep_outputs`, the outputs at all points are kept for calibration."""

    def __init__(self, context: TrainingContext, trainer: Trainer, seed: int, *, keep_outputs: bool) -> None:
        self._context, self._trainer, self._seed = context, trainer, seed
        self._row_loss = row_loss_for(context.data.target, context.data.balance)
        self._probe = probe_network(
            context.fresh_backbone(), context.files.head_weights, context.data.target.num_outputs
        )
        trainer.device.place(self._probe)
        self._probe_outputs = outputs(self._probe, trainer.validation.clean(), trainer.device)
        self._probe_loss_V = self._loss(self._probe_outputs)
        self._keep_outputs = keep_outputs
        self._checkpoint = FileCheckpoint(trainer.checkpoints / "search.safetensors")
        self.state = SearchState.load(self._checkpoint)

    def ranked(self, rung: int, recipes: Sequence[Recipe], epochs: int) -> list[Recipe]:
        """Fits the recipes, those that are not done yet, and returns them with the best first.

        Raises RootstockError if none can be fitted.
        """
        fits = [self._done(rung, recipe) or self._fit(rung, recipe, epochs) for recipe in recipes]
        if not self.state.weights:
            raise RootstockError(
                f"no recipe can be trained: {fits[0].failed}; lower finetune.rate and finetune.head_rate, or set "
                "finetune.recipe to fixed",
                key="no-recipe",
            )
        order = sorted(range(len(recipes)), key=lambda place: -fits[place].worth)
        return [recipes[place] for place in order]

    def curves(self, fit: RecipeFit) -> Path:
        """Returns the file with the curve of a fit."""
        return self._trainer.checkpoints / f"curves{_key(fit.rung, fit.recipe)}.jsonl"

    def tuned(self) -> Tuned:
        """Returns the best fit; the seconds are those of all fits."""
        progress, fit = self.state.progress, self.state.best
        alpha, score = (fit.alpha, fit.score) if fit.worth > 0 else (0.0, self._score(self._probe_outputs))
        progress = replace(progress, interpolated=Interpolated(alpha, score, {}))
        steps, recipe = int(progress.rows[-1][Curve.STEP]), fit.recipe if alpha else PROBE_KEPT
        return Tuned(progress, 0, steps, self.state.seconds, recipe=recipe)

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
        say(f"rung {rung + 1}: {recipe.name}, {epochs} epochs")
        passes = epochs * self._trainer.train.num_images
        fit = RecipeFit(rung, recipe.name, recipe.section.rate, epochs, passes, WORST)
        try:
            fit = self._compared(fit, *self._trained(recipe, epochs, fit))
        except RootstockError as error:
            if error.key not in PASSED_OVER:
                raise
            fit = replace(fit, failed=PASSED_OVER[error.key])
        say(self._describe(fit))
        self.state.done.append(fit)
        self.state.save(self._checkpoint)
        if not rank():
            self._fit_checkpoint(fit).unlink(missing_ok=True)
        return fit

    def _trained(
        self, recipe: Recipe, epochs: int, fit: RecipeFit
    ) -> tuple[Network, Progress, Mapping[float, Outputs]]:
        """Trains to the end, as the best epoch would be chosen by images that calibrate. Returns the outputs, too."""
        if not rank():
            self.curves(fit).parent.mkdir(parents=True, exist_ok=True)
            self.curves(fit).unlink(missing_ok=True)
        torch.manual_seed(self._seed)
        network, plan = plan_on_labels(self._context, recipe.section)
        shrink_head(network.head, recipe.head_scale)
        trainer = replace(self._trainer, curves=self.curves(fit), choose_alpha=self._choose_alpha)
        schedule = schedule_of(recipe.section, len(trainer.train), self._seed)
        progress = trainer.fit(
            Candidate.TUNED,
            network,
            replace(schedule, epochs=epochs, patience=epochs),
            plan if plan.interpolates else replace(plan, alphas=(1.0,)),
            _key(fit.rung, fit.recipe),
        )
        assert progress.interpolated, "a point is chosen"  # noqa: S101 - for the type checker
        return network, progress, progress.interpolated.outputs

    def _compared(
        self, fit: RecipeFit, network: Network, progress: Progress, outputs_at: Mapping[float, Outputs]
    ) -> RecipeFit:
        """Returns the fit with its best point, and keeps its network if it is worth more than the others."""
        state, alpha = self.state, self._choose_alpha(outputs_at)
        loss_V = self._loss(outputs_at[alpha])
        value = worth(self._probe_loss_V, loss_V, alpha)
        if value == WORST:
            raise RootstockError("the validation loss is not finite", key=NOT_FINITE)
        gain, error = gain_of(self._probe_loss_V, loss_V)
        if self._keep_outputs:
            finite = {
                alpha: at.output.cpu() for alpha, at in outputs_at.items() if alpha and at.output.isfinite().all()
            }
            state.outputs |= {(len(state.done), alpha): output for alpha, output in finite.items()}
        if not state.weights or value > state.best.worth:
            state.kept, state.progress = len(state.done), replace(progress, best={}, interpolated=None)
            state.weights = state_of(network if value > 0 else self._probe)
        state.seconds += progress.seconds
        score = self._score(outputs_at[alpha])
        return replace(fit, worth=value, alpha=alpha, score=score, gain=gain, standard_error=error)

    def _describe(self, fit: RecipeFit) -> str:
        if fit.failed:
            return f"{fit.recipe}: {fit.failed}"
        text = self._context.data.target.describe(fit.score)
        return f"{fit.recipe}: {text}, loss {fit.gain:+.3f} +- {fit.standard_error:.3f} better than the probe's"

    def _choose_alpha(self, outputs_at: Mapping[float, Outputs]) -> float:
        """Returns the best alpha above 0, against the probe itself: a small head's start is it only up to a factor."""
        losses = {alpha: self._loss(at) for alpha, at in outputs_at.items() if alpha}
        return max(sorted(losses), key=lambda alpha: worth(self._probe_loss_V, losses[alpha], alpha))

    def _fit_checkpoint(self, fit: RecipeFit) -> Path:
        return self._trainer.checkpoints / f"{Candidate.TUNED.slug}{_key(fit.rung, fit.recipe)}.safetensors"

    def _loss(self, at: Outputs) -> Tensor:
        return self._row_loss(at.output, at.target)

    def _score(self, at: Outputs) -> float:
        return self._trainer.scoring(at).score


def _key(rung: int, recipe: str) -> str:
    return f"-{rung}-{re.sub('[^a-z0-9]+', '-', recipe)}"


def state_of(network: Network) -> Tensors:
    """Copies the state of a network to the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
