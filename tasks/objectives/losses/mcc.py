"""Minimum class confusion (Jin et al., "Minimum Class Confusion for Versatile Domain Adaptation", 2020).

What differs: the target's answers are those of inference mode.
Shapes: N rows, L labelled, U of the target domain, C classes.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from tasks.training.losses.partial_truth import apart, as_rows, is_known

TEMPERATURE = 2.5  # the paper's
Objective = Callable[[Callable[[Tensor], Tensor], Tensor, Tensor], Tensor]


def mcc(own: Objective, weight: float) -> Objective:
    """The loss `own` on labelled rows, and `weight` times how much the target's answers confuse classes."""

    def loss(network: Callable[[Tensor], Tensor], x_N3SS: Tensor, y: Tensor) -> Tensor:
        known_N = is_known(y)
        (_, output_LC), (_, output_UC) = apart(network, x_N3SS, known_N)
        rows_N = as_rows(own(lambda _: output_LC, x_N3SS[known_N], y[known_N]), known_N)
        if not len(output_UC):
            return rows_N
        return rows_N + weight * as_rows(confusion(output_UC.float()).expand(len(output_UC)), ~known_N)

    return loss


def confusion(logits_UC: Tensor) -> Tensor:
    """The mean over classes of the share of each that is confused with others; rows that are surer count more."""
    p_UC = (logits_UC / TEMPERATURE).softmax(1)
    entropy_U = -(p_UC * p_UC.clamp_min(1e-12).log()).sum(1)
    certainty_U = 1 + torch.exp(-entropy_U).detach()
    weight_U = len(p_UC) * certainty_U / certainty_U.sum()
    with torch.autocast(p_UC.device.type, enabled=False):
        together_CC = (p_UC * weight_U[:, None]).T @ p_UC
    share_CC = together_CC / together_CC.sum(1, keepdim=True).clamp_min(1e-12)
    return (share_CC.sum() - share_CC.trace()) / p_UC.shape[1]
