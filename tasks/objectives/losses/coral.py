"""Deep CORAL (Sun and Saenko, 2016): aligns the covariances of both domains' features.

Differences from the paper: the features are those before the head, of any width, instead of the last layer's outputs;
target-domain features are computed in inference mode.
Shapes: N rows, L labeled, U from the target domain, D features.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.training.losses.partial_truth import forward_by_domain, is_labeled, scatter_rows, supervised_rows
from tasks.training.types import Batch, Forward, Loss


def coral(supervised: Loss, weight: float) -> Loss:
    """Returns a loss: the supervised loss on labeled rows plus `weight` * squared covariance distance / (4 D²)."""

    def loss(network: Forward, batch: Batch) -> Tensor:
        labeled_N = is_labeled(batch.target)
        (source_LD, output_LC), (target_UD, _) = forward_by_domain(network, batch.inputs, labeled_N)
        rows_N = scatter_rows(supervised_rows(supervised, batch, labeled_N, output_LC), labeled_N)
        if min(len(source_LD), len(target_UD)) < 2:  # covariance is undefined
            return rows_N
        difference_DD = covariance(source_LD.float()) - covariance(target_UD.float())
        distance = difference_DD.square().sum() / (4 * len(difference_DD) ** 2)
        return rows_N + weight * scatter_rows(distance.expand(len(target_UD)), ~labeled_N)  # all rows have equal weight

    return loss


def covariance(x_ND: Tensor) -> Tensor:
    """Returns the covariance, (D, D), of features (N, D); zeros for fewer than two rows."""
    centered_ND = x_ND - x_ND.mean(0) if len(x_ND) else x_ND
    with torch.autocast(x_ND.device.type, enabled=False):  # bfloat16 products are too coarse for differences
        return (centered_ND.T @ centered_ND).div(max(len(x_ND) - 1, 1))
