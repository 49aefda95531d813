"""Minimum class confusion (Jin et al., "Minimum Class Confusion for Versatile Domain Adaptation", 2020).

Difference from the paper: target-domain outputs are computed in inference mode.
Shapes: N rows, L labeled, U from the target domain, C classes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from tasks.training.losses.partial_truth import forward_by_domain, is_labeled, scatter_rows, supervised_rows
from tasks.training.types import Batch, Forward, Loss

TEMPERATURE = 2.5  # from the paper


def mcc(supervised: Loss, weight: float) -> Loss:
    """Returns the supervised loss on labeled rows plus `weight` times the class confusion of target-domain outputs."""

    def loss(network: Forward, batch: Batch) -> Tensor:
        labeled_N = is_labeled(batch.target)
        (_, output_LC), (_, output_UC) = forward_by_domain(network, batch.inputs, labeled_N)
        rows_N = scatter_rows(supervised_rows(supervised, batch, labeled_N, output_LC), labeled_N)
        if not len(output_UC):
            return rows_N
        return rows_N + weight * scatter_rows(confusion(output_UC.float()).expand(len(output_UC)), ~labeled_N)

    return loss


def confusion(logits_UC: Tensor) -> Tensor:
    """Returns the mean class confusion of logits (U, C): the share confused with others; confident rows weigh more."""
    p_UC = (logits_UC / TEMPERATURE).softmax(1)
    entropy_U = -(p_UC * p_UC.clamp_min(1e-12).log()).sum(1)
    certainty_U = 1 + torch.exp(-entropy_U).detach()
    weight_U = len(p_UC) * certainty_U / certainty_U.sum()
    with torch.autocast(p_UC.device.type, enabled=False):
        together_CC = (p_UC * weight_U[:, None]).T @ p_UC
    share_CC = together_CC / together_CC.sum(1, keepdim=True).clamp_min(1e-12)
    return (share_CC.sum() - share_CC.trace()) / p_UC.shape[1]
