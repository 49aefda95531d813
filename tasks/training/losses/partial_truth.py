"""Batches in which some rows have no truth: unlabelled images, or images of another domain. Shapes: N rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from tasks.scorer.scorer import Network

UNKNOWN = -1  # instead of a class; instead of values, NaN


def is_known(y: Tensor) -> Tensor:
    """Which rows have a truth, (N,): of classes (N,), or of values (N, K)."""
    return y >= 0 if y.dim() == 1 else ~y.isnan().any(1)


def without(y: Tensor) -> Tensor:
    """The same truths with nothing known."""
    return torch.full_like(y, UNKNOWN) if y.dim() == 1 else torch.full_like(y, torch.nan)


@contextmanager
def as_served(network: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Inference mode for a while: BatchNorm takes its statistics as they are and does not move them."""
    training = [part for part in network.modules() if part.training] if isinstance(network, nn.Module) else []
    for part in training:
        part.training = False
    try:
        yield
    finally:
        for part in training:
            part.training = True


def apart(
    network: Callable[[Tensor], Tensor], x_N3SS: Tensor, known_N: Tensor
) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Features and outputs of the rows that are known, and of the others, which are seen as they will be served.

    So BatchNorm learns one domain's statistics alone: those of a mixture fit neither.
    """
    own = features_and_outputs(network, x_N3SS[known_N])
    with as_served(network):
        other = features_and_outputs(network, x_N3SS[~known_N])
    return own, other


def features_and_outputs(network: Callable[[Tensor], Tensor], x_N3SS: Tensor) -> tuple[Tensor, Tensor]:
    """Features, (N, D), and outputs, (N, C). Raises TypeError for what has no features before its head."""
    if not isinstance(network, Network):
        raise TypeError(f"{type(network).__name__} is no Network: it has no features before its head")
    feature_ND: Tensor = network.backbone(x_N3SS)
    output_NC: Tensor = network.head(feature_ND)
    return feature_ND, output_NC


def as_rows(loss_M: Tensor, at_N: Tensor) -> Tensor:
    """Losses of some rows as those of all, (N,), zero elsewhere, so that their mean is the mean over those rows."""
    return spread_out(loss_M, at_N, len(loss_M) / len(at_N))


def spread_out(loss_M: Tensor, at_N: Tensor, share: float) -> Tensor:
    """The same over all batches, of whose rows such are a `share`: so a batch in parts is what it is as a whole."""
    rows_N = torch.zeros(len(at_N), device=loss_M.device, dtype=loss_M.dtype)
    if len(loss_M):
        rows_N[at_N] = loss_M / share
    return rows_N
