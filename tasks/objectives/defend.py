"""Plans training on adversarial examples (article)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from tasks.core.objective_sections import AdversariesSection, Objective, ObjectiveParams
from tasks.core.schema import Curve
from tasks.hardware.microbatches import MicroBatches
from tasks.objectives.context import TrainingContext
from tasks.objectives.losses.adversarial import FAST, Attack, GrowingAttack, adversarial, trades
from tasks.scorer.network import Network
from tasks.training.callbacks import Callback
from tasks.training.loop import outputs, score
from tasks.training.plan import TrainingPlan
from tasks.training.trainer import Trainer
from tasks.training.types import Batch, Loss, Outputs, Row, Score


@dataclass(frozen=True)
class AdversarialValidation(Callback):
    """Scores epochs under attack; epochs whose clean score drops too much are not kept."""

    trainer: Trainer
    attack: Attack
    growing: GrowingAttack
    supervised: Loss
    max_clean_drop: float

    def on_epoch_begin(self, epoch: int, network: Network) -> None:
        """Sets the attack's radius for this epoch."""
        del network
        self.growing.begin(epoch)

    def validate(self, network: Network) -> Score:
        """Scores the network under the full attack; the clean score is recorded as a column of the curve."""
        trainer = self.trainer
        clean = score(network, trainer.validation.clean(), trainer.device, trainer.scoring)
        attacked = score_under_attack(network, trainer, self.attack, self.supervised)
        return Score(attacked.loss, attacked.score, {Curve.CLEAN_SCORE.value: clean.score})

    def may_be_best(self, rows: Sequence[Row]) -> bool:
        """Returns whether the clean score is close enough to that of the initial weights."""
        return rows[-1][Curve.CLEAN_SCORE] >= rows[0][Curve.CLEAN_SCORE] - self.max_clean_drop


def defend(context: TrainingContext, methods: ObjectiveParams, base: TrainingPlan) -> TrainingPlan:
    """Plans a fit on images that are adversarially perturbed in each step."""
    section, preprocessing = methods.adversaries, context.backbone.preprocessing
    attack = Attack(section.norm, section.radius, section.steps, preprocessing.mean, preprocessing.std)
    growing = GrowingAttack(_training_attack(attack, section, methods.objective), section.grow)
    loss = adversarial(base.loss, growing)
    if methods.objective is Objective.TRADES:
        loss = trades(base.loss, growing, section.beta)
    validation = AdversarialValidation(context.trainer, attack, growing, base.loss, section.clean)
    return replace(base, loss=loss, callbacks=(*base.callbacks, validation), cache_gib=0)


def _training_attack(attack: Attack, section: AdversariesSection, objective: Objective) -> Attack:
    return replace(attack, steps=1, step=FAST * section.radius) if objective is Objective.FAST else attack


def score_under_attack(network: Network, trainer: Trainer, attack: Attack, supervised: Loss) -> Score:
    """Scores the network on attacked validation images; the attack uses the same random numbers each time."""
    with torch.random.fork_rng(devices=[trainer.device.device] if trainer.device.is_cuda else []):
        torch.manual_seed(0)
        parts: list[Outputs] = []
        micro = MicroBatches()
        network.eval()

        def perturb(chunks: list[Batch]) -> Tensor:
            return torch.cat([attack(network, chunk.inputs, _ascent(supervised, chunk)) for chunk in chunks])

        for batch in trainer.validation.clean():
            with trainer.device.autocast():
                attacked_N3SS = micro.run_with_retry(perturb, Batch(batch.inputs, batch.target))
            parts.append(outputs(network, [Batch(attacked_N3SS, batch.target)], trainer.device))
    output, target = (torch.cat(column) for column in zip(*((p.output, p.target) for p in parts), strict=True))
    return trainer.scoring(Outputs(output, target))


def _ascent(supervised: Loss, batch: Batch) -> Callable[[Tensor], Tensor]:
    """Returns a function from outputs to the loss that the attack maximizes, (N,)."""
    return lambda output: supervised(lambda _: output, batch)
