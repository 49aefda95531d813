"""The fits of a search for a recipe, saved after each, so that a killed search goes on with the next one.

Shapes: V validation images that choose, C classes or labels, K targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from tasks.core.progress import say
from tasks.core.schema import Candidate, Curve
from tasks.hardware.distributed import all_gather, rank, shard
from tasks.models.networks import probe_network, shrink_head
from tasks.objectives.context import TrainingContext
from tasks.objectives.finetuning import Tuned
from tasks.objectives.out_of_fold import PROBE, Point, out_of_fold
from tasks.objectives.plans import plan_on_labels, schedule_of
from tasks.objectives.recipes import Recipe
from tasks.objectives.search_report import RecipeFit
from tasks.scorer.network import Network
from tasks.training.batches import split_evenly
from tasks.training.checkpoint import FileCheckpoint
from tasks.training.interpolation import gain_of, worth
from tasks.training.kinds import row_loss_for
from tasks.training.loop import outputs
from tasks.training.state import Interpolated, Progress, Tensors
from tasks.training.trainer import Trainer
from tasks.training.types import Outputs


class RecipeFits:
    """The finished fits, and the best point of the present rung; with `keep_outputs`, also the outputs at all points.

    Gains are in loss over the probe, on the validation images of `trainer`.
    """

    def __init__(self, context: TrainingContext, trainer: Trainer, seed: int, *, keep_outputs: bool) -> None:
        self._context, self._trainer, self._seed = context, trainer, seed
        self._row_loss = row_loss_for(context.data.target, context.data.balance)
        probe = self._probe()
        self._probe_state, self._probe_outputs = state_of(probe), self._outputs(probe)
        self._probe_loss_V = self._loss(self._probe_outputs)
        self._outputs_at: dict[Point, Tensor] | None = (
            {PROBE: self._probe_outputs.output.cpu()} if keep_outputs else None
        )
        self.done: list[RecipeFit] = []
        self.kept = 0  # the place of the best fit in `done`
        self.weights: Tensors = {}  # of the whole network, at the best point
        self._progress = Progress()  # of the best fit
        self._seconds = 0.0
        self._checkpoint = FileCheckpoint(trainer.checkpoints / "search.safetensors")
        self._resume()

    @property
    def best(self) -> RecipeFit:
        """Returns the kept fit."""
        return self.done[self.kept]

    def ranked(self, rung: int, recipes: Sequence[Recipe], epochs: int) -> list[Recipe]:
        """Fits the recipes, those that are not done yet, and returns them with the best first."""
        fits = [self._done(rung, recipe) or self._fit(rung, recipe, epochs) for recipe in recipes]
        order = sorted(range(len(recipes)), key=lambda place: -fits[place].worth)
        return [recipes[place] for place in order]

    def curves(self, place: int) -> Path:
        """Returns the file with the curve of a fit, by its place in `done`."""
        return self._trainer.checkpoints / f"curves-{place}.jsonl"

    def tuned(self) -> Tuned:
        """Returns the kept fit; the seconds are those of all fits."""
        progress, fit = self._progress, self.best
        if fit.worth <= 0:
            progress = replace(
                progress, interpolated=Interpolated(0.0, self._trainer.scoring(self._probe_outputs).score, {})
            )
        elif progress.kept == len(progress.rows) - 1:  # else, without interpolation, it is the best epoch
            progress = replace(progress, interpolated=Interpolated(fit.alpha, fit.score, {}))
        steps = int(progress.rows[-1][Curve.STEP])
        return Tuned(progress, 0, steps, self._seconds, recipe=self.best.recipe)

    def out_of_fold(self, fold_V: np.ndarray) -> Tensor:
        """Returns the outputs (V, C) for calibration, in manifest order, given the folds (V,)."""
        assert self._outputs_at, "outputs are kept where they are asked for"  # noqa: S101 - for the type checker
        batches = self._trainer.validation
        parts = split_evenly(torch.arange(batches.num_images), len(batches))
        order_V = all_gather(torch.cat([shard(part) for part in parts]))  # of the outputs, by several processes
        y, kind = self._probe_outputs.target.cpu(), self._context.data.target.kind
        calibrating = out_of_fold(self._outputs_at, y, fold_V[order_V.numpy()], self._row_loss, kind)
        return calibrating[order_V.argsort()]

    def _done(self, rung: int, recipe: Recipe) -> RecipeFit | None:
        return next((fit for fit in self.done if (fit.rung, fit.recipe) == (rung, recipe.name)), None)

    def _fit(self, rung: int, recipe: Recipe, epochs: int) -> RecipeFit:
        place, key = len(self.done), f"-{len(self.done)}"
        torch.manual_seed(self._seed)
        network, plan = plan_on_labels(self._context, recipe.section)
        shrink_head(network.head, recipe.head_scale)
        curves = self.curves(place)
        curves.parent.mkdir(parents=True, exist_ok=True)
        curves.unlink(missing_ok=True)
        trainer = replace(self._trainer, curves=curves, choose_alpha=self._choose_alpha)
        schedule = schedule_of(recipe.section, len(trainer.train), self._seed)
        progress = trainer.fit(Candidate.TUNED, network, replace(schedule, epochs=epochs), plan, key)
        points = self._points(network, progress)
        fit = self._described(rung, recipe, progress, points)
        self._record(fit, network, progress, points)
        if not rank():
            (trainer.checkpoints / f"{Candidate.TUNED.slug}{key}.safetensors").unlink(missing_ok=True)
        return fit

    def _points(self, network: Network, progress: Progress) -> dict[float, Outputs]:
        """Returns the outputs at each alpha above 0, or those of the best epoch at 1 if there is no interpolation."""
        if progress.interpolated is None:
            return {1.0: self._outputs(network)}
        return {alpha: at for alpha, at in progress.interpolated.outputs.items() if alpha}

    def _described(self, rung: int, recipe: Recipe, progress: Progress, points: Mapping[float, Outputs]) -> RecipeFit:
        alpha = self._choose_alpha(points)
        loss_V = self._loss(points[alpha])
        gain, error = gain_of(self._probe_loss_V, loss_V)
        return RecipeFit(
            rung=rung,
            recipe=recipe.name,
            lr=recipe.section.rate,
            epochs=progress.epoch,
            passes=progress.epoch * self._trainer.train.num_images,
            alpha=alpha,
            score=self._trainer.scoring(points[alpha]).score,
            gain=gain,
            standard_error=error,
            worth=worth(self._probe_loss_V, loss_V, alpha),
        )

    def _record(self, fit: RecipeFit, network: Network, progress: Progress, points: Mapping[float, Outputs]) -> None:
        place = len(self.done)
        self.done.append(fit)
        self._seconds += progress.seconds
        if self._outputs_at is not None:
            self._outputs_at |= {(place, alpha): at.output.cpu() for alpha, at in points.items()}
        if self.best.rung < fit.rung or fit.worth > self.best.worth or not self.weights:
            self.kept, self._progress = place, replace(progress, best={}, interpolated=None)
            self.weights = state_of(network) if fit.worth > 0 else self._probe_state
        self._save()
        target = self._context.data.target
        say(f"{fit.recipe}: {target.describe(fit.score)}, gain in loss {fit.gain:+.3f} +- {fit.standard_error:.3f}")

    def _choose_alpha(self, outputs_at: Mapping[float, Outputs]) -> float:
        """Returns the best alpha above 0, against the probe itself: a small head's start is it only up to a factor."""
        losses = {alpha: self._loss(at) for alpha, at in outputs_at.items() if alpha}
        return max(sorted(losses), key=lambda alpha: worth(self._probe_loss_V, losses[alpha], alpha))

    def _loss(self, at: Outputs) -> Tensor:
        return self._row_loss(at.output, at.target)

    def _outputs(self, network: Network) -> Outputs:
        self._trainer.device.place(network)
        return outputs(network, self._trainer.validation.clean(), self._trainer.device)

    def _probe(self) -> Network:
        context = self._context
        return probe_network(context.fresh_backbone(), context.files.head_weights, context.data.target.num_outputs)

    def _save(self) -> None:
        tensors = {f"weights.{name}": tensor for name, tensor in self.weights.items()}
        for (place, alpha), output in (self._outputs_at or {}).items():
            tensors[f"outputs.{place}.{alpha}"] = output
        progress = {name: value for name, value in vars(self._progress).items() if name not in {"best", "interpolated"}}
        fits = [asdict(fit) for fit in self.done]
        self._checkpoint.save(
            tensors, {"fits": fits, "kept": self.kept, "progress": progress, "seconds": self._seconds}
        )

    def _resume(self) -> None:
        saved = self._checkpoint.load()
        if saved is None:
            return
        tensors, values = saved
        self.done, self.kept = [RecipeFit(**fit) for fit in values["fits"]], values["kept"]
        self._progress, self._seconds = Progress(**values["progress"]), values["seconds"]
        for name, tensor in tensors.items():
            kind, _, key = name.partition(".")
            if kind == "weights":
                self.weights[key] = tensor
            elif self._outputs_at is not None:
                place, _, alpha = key.partition(".")
                self._outputs_at[int(place), float(alpha)] = tensor


def state_of(network: Network) -> Tensors:
    """Copies the state of a network to the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in network.state_dict().items()}
