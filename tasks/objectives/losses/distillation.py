"""Distillation (article, 2.2): the student is trained to reproduce the teacher's outputs.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015): soft targets at a temperature, in
addition to the labels. Beyer et al., "Knowledge distillation: A good teacher is patient and consistent" (2022): teacher
and student see exactly the same view. Romero et al., "FitNets" (2015): features are matched through a learned map; here
the features before the head, standardized by LayerNorm, so that scales do not matter. Unlike in the papers, the
teacher's outputs are looked up, not computed in each step, and rows without a label are allowed. Shapes: N rows, M
labeled, C outputs, K targets, D and E features of student and teacher.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.core.schema import Curve
from tasks.core.target import TargetKind, TargetSpec
from tasks.metrics.variance import variance
from tasks.training.losses.partial_truth import features_and_outputs, is_labeled, scatter_rows_scaled, supervised_rows
from tasks.training.types import Batch, Forward, Loss, Measure, Outputs, Score, Scoring


@dataclass(frozen=True)
class DistillationWeights:
    """The softmax temperature, the loss weights of labels and features, and the fraction of labeled rows."""

    temperature: float
    labels: float
    labeled_fraction: float = 1.0
    features: float = 0.0


class Distillation:
    """The loss of each row of a batch with the teacher's outputs, and with its features if they are matched.

    `supervised` is the loss on labeled rows. `widths` are the widths of the student's and the teacher's features.
    """

    def __init__(
        self,
        target: TargetSpec,
        supervised: Loss,
        weights: DistillationWeights,
        widths: tuple[int, int] | None = None,
    ) -> None:
        self._target = target
        self._supervised = supervised
        self._weights = weights
        self._divergence = DIVERGENCES[target.kind]
        self._agreement = AGREEMENTS[target.kind]
        self.map = nn.Linear(*widths) if weights.features and widths else None  # trained with the student, D to E

    def __call__(self, network: Forward, batch: Batch) -> Tensor:
        """Returns the loss of each row, (N,)."""
        teacher_NC, feature_NE = self.split(batch.teacher)
        if self.map is None:
            output_NC, distance = network(batch.inputs).float(), torch.zeros((), device=batch.inputs.device)
        else:
            feature_ND, output_NC = features_and_outputs(network, batch.inputs)
            output_NC, distance = output_NC.float(), _distance(self.map(feature_ND).float(), feature_NE)
        soft_N = self.divergence(output_NC, teacher_NC)
        labeled_N = is_labeled(batch.target)
        supervised_M = supervised_rows(self._supervised, batch, labeled_N, output_NC[labeled_N])
        hard_N = scatter_rows_scaled(supervised_M, labeled_N, self._weights.labeled_fraction)
        labels, features = self._weights.labels, self._weights.features
        return (1 - labels) * soft_N + labels * hard_N + features * distance

    def split(self, teacher: Tensor | None) -> tuple[Tensor, Tensor]:
        """Splits the teacher's columns into its outputs, (N, C), and its features, (N, E) or (N, 0).

        Raises TypeError for a batch without teacher columns.
        """
        if teacher is None:
            raise TypeError("a batch without the teacher's outputs cannot be distilled")
        return teacher[:, : self._target.num_outputs], teacher[:, self._target.num_outputs :]

    def divergence(self, output_NC: Tensor, teacher_NC: Tensor) -> Tensor:
        """Returns the divergence of the student's outputs, (N, C), from the teacher's, (N, C), for each row, (N,)."""
        return self._divergence(output_NC, teacher_NC, self._weights.temperature, self._target)

    def scoring(self, measure: Measure) -> Scoring:
        """Returns a scoring by divergence; the curve includes student-teacher agreement and the teacher's own score."""

        def score(outputs: Outputs) -> Score:
            output_NC, y, teacher = outputs
            teacher_NC, _ = self.split(teacher)
            extra = {
                Curve.AGREEMENT.value: self._agreement(output_NC, teacher_NC, self._target),
                Curve.TEACHER_SCORE.value: measure(teacher_NC, y)[1],
            }
            return Score(self.divergence(output_NC, teacher_NC).mean().item(), measure(output_NC, y)[1], extra)

        return score


def class_divergence(output_NC: Tensor, teacher_NC: Tensor, temperature: float, target: TargetSpec) -> Tensor:
    """Returns T² times the KL divergence of the softened distributions of (N, C) logits, (N,)."""
    del target
    student_NC, teacher_NC = (logits_NC.div(temperature).log_softmax(1) for logits_NC in (output_NC, teacher_NC))
    return temperature**2 * F.kl_div(student_NC, teacher_NC, reduction="none", log_target=True).sum(1)


def label_divergence(output_NC: Tensor, teacher_NC: Tensor, temperature: float, target: TargetSpec) -> Tensor:
    """Returns T² times the binary KL divergence, averaged over labels, of (N, C) logits, (N,)."""
    del target
    soft_NC = (teacher_NC / temperature).sigmoid()
    crossed_NC = F.binary_cross_entropy_with_logits(output_NC / temperature, soft_NC, reduction="none")
    entropy_NC = F.binary_cross_entropy_with_logits(teacher_NC / temperature, soft_NC, reduction="none")
    return temperature**2 * (crossed_NC - entropy_NC).mean(1)


def value_divergence(output_NK: Tensor, teacher_NK: Tensor, temperature: float, target: TargetSpec) -> Tensor:
    """Returns the mean squared error of values (N, K) in units of each target's standard deviation, (N,)."""
    del temperature
    std_K = torch.tensor(target.std_K, device=teacher_NK.device)
    return ((output_NK - teacher_NK) / std_K).square().mean(1)


def class_agreement(output_NC: Tensor, teacher_NC: Tensor, target: TargetSpec) -> float:
    """Returns the fraction of rows for which student and teacher logits, (N, C) each, predict the same class."""
    del target
    return (output_NC.argmax(1) == teacher_NC.argmax(1)).float().mean().item()


def label_agreement(output_NC: Tensor, teacher_NC: Tensor, target: TargetSpec) -> float:
    """Returns the fraction of label decisions on which student and teacher logits, (N, C) each, agree."""
    del target
    return ((output_NC >= 0) == (teacher_NC >= 0)).float().mean().item()


def value_agreement(output_NK: Tensor, teacher_NK: Tensor, target: TargetSpec) -> float:
    """Returns the mean R² of the student's values (N, K) as predictions of the teacher's (N, K)."""
    error_K = (output_NK - teacher_NK).square().mean(0)
    std_K = torch.tensor(target.std_K, device=teacher_NK.device)
    return (1 - error_K / variance(teacher_NK, std_K)).mean().item()


DIVERGENCES: Mapping[TargetKind, Callable[[Tensor, Tensor, float, TargetSpec], Tensor]] = {
    TargetKind.CLASSIFICATION: class_divergence,
    TargetKind.MULTILABEL: label_divergence,
    TargetKind.REGRESSION: value_divergence,
}
AGREEMENTS: Mapping[TargetKind, Callable[[Tensor, Tensor, TargetSpec], float]] = {
    TargetKind.CLASSIFICATION: class_agreement,
    TargetKind.MULTILABEL: label_agreement,
    TargetKind.REGRESSION: value_agreement,
}


def _distance(mapped_NE: Tensor, feature_NE: Tensor) -> Tensor:
    """Returns the mean squared distance of each row's standardized features, (N,)."""
    mapped_NE, feature_NE = (F.layer_norm(x_NE, x_NE.shape[1:]) for x_NE in (mapped_NE, feature_NE))
    return (mapped_NE - feature_NE).square().mean(1)
