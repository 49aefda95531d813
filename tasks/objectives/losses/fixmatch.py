"""Confident predictions (article, 3.2): FixMatch and FlexMatch, on unlabeled images under a weak and a strong view.

Sohn et al., "FixMatch" (2020): a confident prediction for the weak view is the label for the strong view.
Zhang et al., "FlexMatch" (2021): classes that the model has not yet learned well have lower thresholds.
Berthelot et al., "ReMixMatch" (2020): predictions are aligned with the class frequencies of the labels.
Differences from the papers: confidence is calibrated by a temperature fitted on labeled images, and thresholds and
alignment are set before each epoch from a pass over the unlabeled images instead of in each step, so no running state
has to be saved.
Shapes: N rows, U of them unlabeled, C classes. Inputs are (N, 6, S, S): the weak view, then the strong view.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.training.losses.partial_truth import is_labeled, scatter_rows, supervised_rows
from tasks.training.types import Batch, Forward, Loss


class FixMatch:
    """The supervised loss on labeled rows under the weak view plus `weight` times the loss on confident predictions."""

    def __init__(self, supervised: Loss, classes: int, threshold: float, weight: float) -> None:
        self._supervised = supervised
        self._weight = weight
        self._threshold = threshold
        self.temperature = 1.0
        self.threshold_C = torch.full((classes,), threshold)
        self.tilt_C = torch.ones(classes)

    def probabilities(self, logits_NC: Tensor) -> Tensor:
        """Returns calibrated, aligned probabilities, (N, C)."""
        p_NC = (logits_NC / self.temperature).softmax(1) * self.tilt_C.to(logits_NC.device)
        return p_NC / p_NC.sum(1, keepdim=True)

    def align(self, logits_UC: Tensor, prior_C: Tensor) -> None:
        """Sets ReMixMatch's alignment, from predictions for all unlabeled images, (U, C), to class frequencies (C,)."""
        self.tilt_C = prior_C / (logits_UC / self.temperature).softmax(1).mean(0).clamp_min(1e-6)

    def adapt(self, p_UC: Tensor) -> None:
        """Sets FlexMatch's thresholds from the probabilities of all unlabeled images, (U, C)."""
        confident_U = p_UC.max(1).values >= self._threshold
        count_C = torch.bincount(p_UC.argmax(1)[confident_U], minlength=len(self.threshold_C)).float()
        most = torch.maximum(count_C.max(), (~confident_U).sum().float()).clamp_min(1)  # the paper's warm-up
        share_C = count_C / most
        self.threshold_C = self._threshold * share_C / (2 - share_C)  # the paper's convex mapping

    def __call__(self, network: Forward, batch: Batch) -> Tensor:
        """Returns the loss of each row, (N,)."""
        x_N6SS, labeled_N = batch.inputs, is_labeled(batch.target)
        both = network(torch.cat([x_N6SS[:, :3], x_N6SS[~labeled_N][:, 3:]])).float()
        weak_NC, strong_UC = both[: len(x_N6SS)], both[len(x_N6SS) :]
        labeled_loss_N = scatter_rows(
            supervised_rows(self._supervised, batch, labeled_N, weak_NC[labeled_N]), labeled_N
        )
        confidence_U, label_U = self.probabilities(weak_NC[~labeled_N].detach()).max(1)
        accepted_U = confidence_U >= self.threshold_C.to(confidence_U.device)[label_U]
        loss_U = F.cross_entropy(strong_UC, label_U, reduction="none") * accepted_U
        return labeled_loss_N + self._weight * scatter_rows(loss_U, ~labeled_N)
