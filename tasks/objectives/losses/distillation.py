"""Distillation (article, 2.2): the new model's error against the big one's answers is reduced.

Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network" (2015): soft targets at a temperature, beside
the labels. Beyer et al., "Knowledge distillation: A good teacher is patient and consistent" (2022): the teacher sees
the very view that the student sees. Romero et al., "FitNets" (2015): features are matched through a learned map; here
those before the head, standardised by LayerNorm, so that either's scale means nothing.
What differs: the teacher's answers are looked up, not computed in each step, and rows without a label are welcome.
Shapes: N rows, C classes, K targets, D and E features of student and teacher.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.core.schema import Curve
from tasks.metrics.regression import variance
from tasks.training.losses.partial_truth import features_and_outputs, is_known, spread_out

Objective = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]
Scored = tuple[float, float, dict[str, float]]


class Distillation:
    """A loss a row of a truth that holds the teacher's outputs, and its features where they are matched.

    `outputs` are the columns that teacher and student both give; `own` is the loss on what is labelled, a share `known`
    of all rows, and `labels` its part of the loss. `kind` says what outputs are: classes, labels (several an image) or
    targets, in units of `spread_K`.
    """

    def __init__(
        self,
        kind: str,
        outputs: int,
        own: Objective,
        *,
        temperature: float,
        labels: float,
        known: float = 1.0,
        features: float = 0.0,
        widths: tuple[int, int] | None = None,
        spread_K: tuple[float, ...] = (),
    ) -> None:
        self._kind = kind
        self._outputs = outputs
        self._own = own
        self._temperature = temperature
        self._labels = labels
        self._known = known
        self._features = features
        self._spread_K = torch.tensor(spread_K or (1.0,) * outputs)
        self.map = nn.Linear(*widths) if features and widths else None  # learns with the student, D to E

    def __call__(self, network: Callable[[Tensor], Tensor], x_N3SS: Tensor, truth: Tensor) -> Tensor:
        """The loss of each row, (N,)."""
        y, answer_NC, feature_NE = self.parts(truth)
        if self.map is None:
            output_NC, distance = network(x_N3SS).float(), torch.zeros((), device=x_N3SS.device)
        else:
            feature_ND, output_NC = features_and_outputs(network, x_N3SS)
            output_NC, distance = output_NC.float(), _distance(self.map(feature_ND).float(), feature_NE)
        soft_N = self.divergence(output_NC, answer_NC)
        known_N = is_known(y)
        own_M = self._own(lambda _: output_NC[known_N], x_N3SS[known_N], y[known_N])
        hard_N = spread_out(own_M, known_N, self._known)
        return (1 - self._labels) * soft_N + self._labels * hard_N + self._features * distance

    def parts(self, truth: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What is known, (N,) or (N, K); the teacher's outputs, (N, C); and its features, (N, E) or (N, 0)."""
        first = 1 if self._kind == "classes" else self._outputs
        y = truth[:, 0].long() if self._kind == "classes" else truth[:, :first]
        return y, truth[:, first : first + self._outputs], truth[:, first + self._outputs :]

    def divergence(self, output_NC: Tensor, answer_NC: Tensor) -> Tensor:
        """How far the student is from the teacher, (N,): T² times the divergence of their softened distributions.

        Of targets it is the squared error, in units of their spread.
        """
        t = self._temperature
        if self._kind == "classes":
            student_NC, teacher_NC = (logits_NC.div(t).log_softmax(1) for logits_NC in (output_NC, answer_NC))
            return t**2 * F.kl_div(student_NC, teacher_NC, reduction="none", log_target=True).sum(1)
        if self._kind == "labels":
            teacher_NC = (answer_NC / t).sigmoid()
            crossed_NC = F.binary_cross_entropy_with_logits(output_NC / t, teacher_NC, reduction="none")
            entropy_NC = F.binary_cross_entropy_with_logits(answer_NC / t, teacher_NC, reduction="none")
            return t**2 * (crossed_NC - entropy_NC).mean(1)
        return ((output_NC - answer_NC) / self._spread_K.to(answer_NC.device)).square().mean(1)

    def agreement(self, output_NC: Tensor, answer_NC: Tensor) -> float:
        """The share of rows that both answer alike; of targets, R² of the student for the teacher's answers."""
        if self._kind == "classes":
            return (output_NC.argmax(1) == answer_NC.argmax(1)).float().mean().item()
        if self._kind == "labels":
            return ((output_NC >= 0) == (answer_NC >= 0)).float().mean().item()
        error_K = (output_NC - answer_NC).square().mean(0)
        return (1 - error_K / variance(answer_NC, self._spread_K.to(answer_NC.device))).mean().item()

    def measure(self, score: Callable[[Tensor, Tensor], tuple[float, float]]) -> Callable[[Tensor, Tensor], Scored]:
        """Divergence, the student's score by `score`; beside them how often both agree, and the teacher's score."""

        def measured(output_NC: Tensor, truth: Tensor) -> Scored:
            y, answer_NC, _ = self.parts(truth)
            more = {
                Curve.AGREEMENT.value: self.agreement(output_NC, answer_NC),
                Curve.TEACHER_SCORE.value: score(answer_NC, y)[1],
            }
            return self.divergence(output_NC, answer_NC).mean().item(), score(output_NC, y)[1], more

        return measured


def _distance(mapped_NE: Tensor, feature_NE: Tensor) -> Tensor:
    """Mean squared distance of each row's standardised features, (N,)."""
    mapped, wanted = (F.layer_norm(x_NE, x_NE.shape[1:]) for x_NE in (mapped_NE, feature_NE))
    return (mapped - wanted).square().mean(1)
