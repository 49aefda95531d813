"""Confident predictions (article, 3.2): FixMatch and FlexMatch, on unlabelled images under a weak and a strong view.

Sohn et al., "FixMatch" (2020): what the model is sure of under the weak view is the label of the strong one.
Zhang et al., "FlexMatch" (2021): a class that is learned badly so far has a lower threshold.
Berthelot et al., "ReMixMatch" (2020): answers are tilted towards the classes' shares among the labels.
What differs: confidence is calibrated by a temperature from labelled images, and thresholds and tilts are set anew
before each epoch, from a pass over the unlabelled images, instead of in each step: so they need no memory of their own.
Shapes: N rows, U of them unlabelled, C classes. Inputs are (N, 6, S, S): the weak view, then the strong one.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.training.losses.partial_truth import as_rows, is_known

Objective = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]


class FixMatch:
    """The loss `own` on labelled rows under the weak view, and `weight` times that of confident answers."""

    def __init__(self, own: Objective, classes: int, threshold: float, weight: float) -> None:
        self._own = own
        self._weight = weight
        self._threshold = threshold
        self.temperature = 1.0
        self.threshold_C = torch.full((classes,), threshold)
        self.tilt_C = torch.ones(classes)

    def answers(self, logits_NC: Tensor) -> Tensor:
        """Calibrated probabilities, tilted, (N, C)."""
        p_NC = (logits_NC / self.temperature).softmax(1) * self.tilt_C.to(logits_NC.device)
        return p_NC / p_NC.sum(1, keepdim=True)

    def align(self, logits_UC: Tensor, prior_C: Tensor) -> None:
        """ReMixMatch's tilt: from the classes' shares in the answers to all unlabelled images, to those wanted."""
        self.tilt_C = prior_C / (logits_UC / self.temperature).softmax(1).mean(0).clamp_min(1e-6)

    def adapt(self, p_UC: Tensor) -> None:
        """FlexMatch's thresholds, from the answers to all unlabelled images."""
        sure_U = p_UC.max(1).values >= self._threshold
        learned_C = torch.bincount(p_UC.argmax(1)[sure_U], minlength=len(self.threshold_C)).float()
        most = torch.maximum(learned_C.max(), (~sure_U).sum().float()).clamp_min(1)  # the paper's warm-up
        share_C = learned_C / most
        self.threshold_C = self._threshold * share_C / (2 - share_C)  # its convex map

    def __call__(self, network: Callable[[Tensor], Tensor], x_N6SS: Tensor, y_N: Tensor) -> Tensor:
        """The loss of each row, (N,)."""
        known_N = is_known(y_N)
        both = network(torch.cat([x_N6SS[:, :3], x_N6SS[~known_N][:, 3:]])).float()
        weak_NC, strong_UC = both[: len(y_N)], both[len(y_N) :]
        own_N = as_rows(self._own(lambda _: weak_NC[known_N], x_N6SS[known_N], y_N[known_N]), known_N)
        sure_U, label_U = self.answers(weak_NC[~known_N].detach()).max(1)
        taken_U = sure_U >= self.threshold_C.to(sure_U.device)[label_U]
        loss_U = F.cross_entropy(strong_UC, label_U, reduction="none") * taken_U
        return own_N + self._weight * as_rows(loss_U, ~known_N)
