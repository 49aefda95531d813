"""Plans training on audited confident predictions for unlabeled images (article, 3.2 and 4.1).

Shapes: N rows, U unlabeled, V validation rows, C classes, E features of the teacher.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd
import torch
from torch import Tensor

from tasks.core.objective_sections import ObjectiveParams, TeacherParams, UnlabeledSection
from tasks.core.progress import say
from tasks.core.schema import Balance, Split
from tasks.images.transforms import RenderStyle
from tasks.images.views import draw_clean
from tasks.objectives.audit import audit_held_out, check_audit, fit_temperature
from tasks.objectives.context import TrainingContext
from tasks.objectives.data import relative_weights
from tasks.objectives.distil import teacher_of
from tasks.objectives.label_propagation import propagate
from tasks.objectives.losses.fixmatch import FixMatch
from tasks.objectives.losses.pseudo_labels import Audit, accept
from tasks.objectives.teacher import OutputsAndFeatures
from tasks.scorer.network import Network
from tasks.training.batches import Batches
from tasks.training.callbacks import Callback
from tasks.training.class_balance import balance_weights, log_prior
from tasks.training.kinds import loss_for
from tasks.training.loop import outputs
from tasks.training.mixed_batches import MixedBatches, ViewedImages
from tasks.training.plan import TrainingPlan
from tasks.training.trainer import Trainer


@dataclass(frozen=True)
class Report(Callback):
    """Adds precomputed numbers to the report."""

    numbers: dict[str, float]

    def on_end(self, network: Network) -> dict[str, float]:
        """Returns the numbers."""
        del network
        return self.numbers


def pseudo_label(
    context: TrainingContext, methods: ObjectiveParams, network: Network, base: TrainingPlan
) -> tuple[Trainer, TrainingPlan]:
    """Plans a fit on pseudo-labels: confident predictions from the teacher, the network or nearest neighbors.

    Raises DataRefusedError if the predictions fail their audit.
    """
    section, data, trainer = methods.unlabelled, context.data, context.trainer
    unlabeled, train = data.rows(Split.UNLABELED), data.rows(Split.TRAIN)
    logits_NC, labeled = first_predictions(context, methods, network), trainer.validation.num_images
    logits_VC, logits_UC = logits_NC[:labeled], logits_NC[labeled:]
    temperature = fit_temperature(data, logits_VC)
    audit = audit_held_out(data, (logits_VC / temperature).softmax(1), section.threshold)
    check_audit(audit, section.precision)
    p_UC = (logits_UC / temperature).softmax(1).numpy()
    accepted_U = accept(p_UC, section.threshold, section.quota)
    say(
        f"{accepted_U.sum()} of {len(accepted_U)} unlabeled images get a pseudo-label; on held-out labeled images "
        f"{audit.precision:.1%} of {audit.accepted} accepted predictions are right"
    )
    rows = pd.concat([train, unlabeled[accepted_U]], ignore_index=True)
    y_N = torch.cat([torch.from_numpy(data.target.encode(train)), torch.from_numpy(p_UC.argmax(1)[accepted_U])])
    weight_N = torch.cat([relative_weights(train), torch.full((int(accepted_U.sum()),), section.weight)])
    loss = base.loss
    if data.balance is Balance.WEIGHTS:
        weight_N = balance_weights(weight_N, y_N, data.target.num_outputs)
    elif data.balance is Balance.LOGITS:
        loss = loss_for(data.target, base.smoothing, log_prior(weight_N, y_N, data.target.num_outputs))
    student = replace(
        trainer,
        train=context.loader.batches(rows, y_N, weight_N / weight_N.mean(), context.batch),
        views=data.views(rows),
    )
    report = Report({"pseudo_labels": float(accepted_U.sum()), "audited_precision": audit.precision})
    return student, replace(base, loss=loss, callbacks=(*base.callbacks, report))


def first_predictions(context: TrainingContext, methods: ObjectiveParams, network: Network) -> Tensor:
    """Returns logits for clean validation and unlabeled images, (V + U, C), predicted or propagated from neighbors."""
    data = context.data
    predicted = [data.rows(split) for split in (Split.VALIDATION, Split.UNLABELED)]
    neighbors, classes = methods.unlabelled.neighbours, data.target.num_outputs
    if not neighbors:
        return predict(context, methods.teacher, network, pd.concat(predicted), features=False)
    train = data.rows(Split.TRAIN)
    rows = pd.concat([train, *predicted])
    x_ND = predict(context, methods.teacher, network, rows, features=True)[:, classes:]
    label_N = torch.full((len(rows),), -1)
    label_N[: len(train)] = torch.from_numpy(data.target.encode(train))
    p_NC = propagate(x_ND.numpy(), label_N.numpy(), classes, neighbors, methods.unlabelled.search)
    return torch.from_numpy(p_NC).log().float()[len(train) :]


def predict(
    context: TrainingContext, teacher: TeacherParams, network: Network, rows: pd.DataFrame, *, features: bool
) -> Tensor:
    """Returns the teacher's outputs, or without a teacher the network's, for clean images: (N, C), or (N, C + E)."""
    loader = context.loader
    if teacher.weights is None:
        module = loader.device.place(OutputsAndFeatures(network, features=features))
        return outputs(module, context.clean_batches(rows).clean(), loader.device).output.cpu()
    settings = (context.files.feature_store, loader.device, RenderStyle(), loader.batch)
    return teacher_of(context, teacher).outputs(loader.root, rows, draw_clean, *settings, features=features)


@dataclass(frozen=True)
class FixMatchAudit(Callback):
    """Sets temperature, thresholds and alignment before each epoch, and audits the accepted predictions."""

    context: TrainingContext
    loss: FixMatch
    section: UnlabeledSection
    unlabeled: Batches
    validation: Batches
    prior_C: Tensor

    def on_epoch_begin(self, epoch: int, network: Network) -> None:
        """Audits and reports the precision. Raises DataRefusedError if predictions are wrong too often."""
        del epoch
        audit = self.audit(network)
        say(f"{audit.precision:.1%} of {audit.accepted} accepted predictions on held-out labeled images are right")

    def on_end(self, network: Network) -> dict[str, float]:
        """Audits the kept model. Returns its precision."""
        return {"audited_precision": self.audit(network).precision}

    def audit(self, network: Network) -> Audit:
        """Calibrates on one half of the validation images and audits on the other half."""
        data, device, loss = self.context.data, self.context.loader.device, self.loss
        logits_VC = outputs(network, self.validation.clean(), device).output
        loss.temperature = fit_temperature(data, logits_VC)
        if self.section.adaptive or self.section.align:
            logits_UC = outputs(network, self.unlabeled.clean(), device).output
            if self.section.align:
                loss.align(logits_UC.cpu(), self.prior_C)
            if self.section.adaptive:
                loss.adapt(loss.probabilities(logits_UC.cpu()))
        audit = audit_held_out(data, loss.probabilities(logits_VC), loss.threshold_C.tolist())
        check_audit(audit, self.section.precision)
        return audit


def fixmatch(context: TrainingContext, methods: ObjectiveParams, base: TrainingPlan) -> TrainingPlan:
    """Plans a FixMatch fit: confident predictions for a weak view serve as labels for a strong view."""
    section, data = methods.unlabelled, context.data
    loss = FixMatch(base.loss, data.target.num_outputs, section.threshold, section.weight)
    unlabeled, validation = (context.clean_batches(data.rows(s)) for s in (Split.UNLABELED, Split.VALIDATION))
    y_N = torch.from_numpy(data.target.encode(data.rows(Split.TRAIN)))
    prior_C = torch.bincount(y_N, minlength=data.target.num_outputs) / len(y_N)
    audit = FixMatchAudit(context, loss, section, unlabeled, validation, prior_C)
    train = mixed_batches(context, section, strong=True)
    return replace(base, loss=loss, train=train, callbacks=(*base.callbacks, audit), cache_gib=0)


def mixed_batches(context: TrainingContext, section: UnlabeledSection, *, strong: bool) -> MixedBatches:
    """Returns batches of labeled and unlabeled images; with `strong`, the latter include a strong view."""
    data, trainer, rows = context.data, context.trainer, context.data.rows(Split.UNLABELED)
    unlabeled, policy, second = context.clean_batches(rows), data.policy, None
    if strong:
        limits = {"shift": 0.5, "scale": 0.5, "rotation": 180.0, "colour": 0.9}
        stronger = {name: min(section.stronger * getattr(policy, name), limit) for name, limit in limits.items()}
        drawn = policy.model_copy(update={"automatic": section.strong, "erase": 1.0, **stronger})
        second = ViewedImages(unlabeled, data.views(rows, drawn), RenderStyle(trainer.style.fill, section.strong))
    labeled = ViewedImages(trainer.train, trainer.views, trainer.style)
    weak = ViewedImages(unlabeled, data.views(rows), trainer.style)
    return MixedBatches(labeled, weak, second, context.batch, section.ratio, policy.seed)
