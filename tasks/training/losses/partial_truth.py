"""Batches in which some rows have no target: unlabeled images, or images of another domain.

Shapes: N rows, M of them labeled, D features, C outputs.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tasks.scorer.network import Network
from tasks.training.types import Batch, Forward, Loss

UNLABELED = -1  # class of an unlabeled row; values are NaN


def is_labeled(y: Tensor) -> Tensor:
    """Returns which rows have a target, (N,) bool, for classes (N,), or labels or values (N, K)."""
    return y >= 0 if y.dim() == 1 else ~y.isnan().any(1)


def mask_labels(y: Tensor) -> Tensor:
    """Returns targets of the same shape, (N,) or (N, K), with all rows unlabeled."""
    return torch.full_like(y, UNLABELED) if y.dim() == 1 else torch.full_like(y, torch.nan)


@contextmanager
def inference_mode_of(network: Forward) -> Iterator[None]:
    """Puts the network into eval mode within the context: BatchNorm uses its running statistics unchanged."""
    training = [part for part in network.modules() if part.training] if isinstance(network, nn.Module) else []
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def forward_by_domain(
    network: Forward, x_N3SS: Tensor, labeled_N: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Returns features (M, D) and outputs (M, C) of the labeled rows, then those of the others, in eval mode.

    BatchNorm thus learns only the labeled domain's statistics; the statistics of a mixture would fit neither domain.
    """
    source = features_and_outputs(network, x_N3SS[labeled_N])
    with inference_mode_of(network):
        target = features_and_outputs(network, x_N3SS[~labeled_N])
    return source, target


def features_and_outputs(network: Forward, x_N3SS: Tensor) -> tuple[Tensor, Tensor]:
    """Returns features, (N, D), and outputs, (N, C). Raises TypeError for a network without a separate head."""
    if not isinstance(network, Network):
        raise TypeError(f"{type(network).__name__} is no Network: it has no features before its head")
    feature_ND: Tensor = network.backbone(x_N3SS)
    output_NC: Tensor = network.head(feature_ND)
    return feature_ND, output_NC


def supervised_rows(loss: Loss, batch: Batch, labeled_N: Tensor, output_MC: Tensor) -> Tensor:
    """Returns the supervised loss of the labeled rows, (M,), for their outputs (M, C)."""
    return loss(lambda _: output_MC, Batch(batch.inputs[labeled_N], batch.target[labeled_N]))


def scatter_rows(loss_M: Tensor, at_N: Tensor) -> Tensor:
    """Scatters losses (M,) to the rows `at_N`, zero elsewhere, (N,), scaled so that the mean stays the same."""
    return scatter_rows_scaled(loss_M, at_N, len(loss_M) / len(at_N))


def scatter_rows_scaled(loss_M: Tensor, at_N: Tensor, share: float) -> Tensor:
    """Like `scatter_rows`, (M,) to (N,), but normalized by the fraction `share` of such rows in the whole data set.

    Splitting a batch into micro-batches then does not change the loss.
    """
    rows_N = torch.zeros(len(at_N), device=loss_M.device, dtype=loss_M.dtype)
    if len(loss_M):
        rows_N[at_N] = loss_M / share
    return rows_N
