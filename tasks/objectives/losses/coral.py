"""Deep CORAL (Sun and Saenko, 2016): the covariances of the features of both domains are drawn together.

What differs: the features are those before the head, of any width, instead of the last layer's outputs; and the
target's are those of inference mode.
Shapes: N rows, L labelled, U of the target, D features.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tasks.training.losses.partial_truth import apart, as_rows, is_known

Objective = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]


def coral(own: Objective, weight: float) -> Objective:
    """The loss `own` on labelled rows, and `weight` times the squared distance of the covariances over 4 D²."""

    def loss(network: Callable[[Tensor], Tensor], x_N3SS: Tensor, y: Tensor) -> Tensor:
        known_N = is_known(y)
        (source_LD, output_LC), (target_UD, _) = apart(network, x_N3SS, known_N)
        rows_N = as_rows(own(lambda _: output_LC, x_N3SS[known_N], y[known_N]), known_N)
        if min(len(source_LD), len(target_UD)) < 2:  # no covariance
            return rows_N
        difference_DD = covariance(source_LD.float()) - covariance(target_UD.float())
        distance = difference_DD.square().sum() / (4 * len(difference_DD) ** 2)
        return rows_N + weight * as_rows(distance.expand(len(target_UD)), ~known_N)  # those weigh the same everywhere

    return loss


def covariance(x_ND: Tensor) -> Tensor:
    """Of features, (D, D); zeros for fewer than two rows."""
    centred_ND = x_ND - x_ND.mean(0) if len(x_ND) else x_ND
    with torch.autocast(x_ND.device.type, enabled=False):  # products of bfloat16 are too coarse for differences
        return (centred_ND.T @ centred_ND).div(max(len(x_ND) - 1, 1))
