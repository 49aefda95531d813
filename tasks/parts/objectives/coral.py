"""Deep CORAL (Sun and Saenko, 2016): the covariances of the features of both domains are drawn together.

What differs: the features are those before the head, of any width, instead of the last layer's outputs.
Shapes: N rows, D features.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from tasks.parts.objectives.known import as_rows, features_and_outputs, is_known

Objective = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]


def coral(own: Objective, weight: float) -> Objective:
    """The loss `own` on labelled rows, and `weight` times the squared distance of the covariances over 4 D²."""

    def loss(network: Callable[[Tensor], Tensor], x_N3SS: Tensor, y: Tensor) -> Tensor:
        known_N = is_known(y)
        feature_ND, output_NC = features_and_outputs(network, x_N3SS)
        rows_N = as_rows(own(lambda _: output_NC[known_N], x_N3SS[known_N], y[known_N]), known_N)
        source_DD, target_DD = covariance(feature_ND[known_N].float()), covariance(feature_ND[~known_N].float())
        distance = (source_DD - target_DD).square().sum() / (4 * feature_ND.shape[1] ** 2)
        return rows_N + weight * distance

    return loss


def covariance(x_ND: Tensor) -> Tensor:
    """Of features, (D, D); zeros for fewer than two rows."""
    centred_ND = x_ND - x_ND.mean(0) if len(x_ND) else x_ND
    return (centred_ND.T @ centred_ND).div(max(len(x_ND) - 1, 1))
