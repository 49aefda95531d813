"""Minimizes the penalized loss of a logistic regression, block by block of its rows.

Rows are float32, and sums over blocks float64, in the order of the blocks: the same bits for any number of threads.
Shapes: N rows, B of them in a block, D features, C classes or labels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.core.progress import warn
from tasks.hardware.threads import map_in_threads
from tasks.heads.rows import Features, blocks_of

FLOOR = 1e-6  # lower bound of a feature's standard deviation
MAX_GAP = 1e-7  # between the loss and its minimum
MIN_CURVATURE = 1e-5  # assumed where the penalty is less
MAX_EVALUATIONS = 400
HISTORY = 10  # steps that L-BFGS remembers


class Scaling(NamedTuple):
    """The mean and the standard deviation of each feature, (D,) float64."""

    mean_D: Tensor
    deviation_D: Tensor


@dataclass(frozen=True)
class LogisticProblem:
    """Rows with classes (N,) or labels (N, C), weights (N,) float64, and offsets of logits (C,).

    Features are standardized by `scaling`, whose mean is subtracted from the rows, not folded into the bias: that would
    cost digits for features that vary little.
    """

    x_ND: Features
    y: Tensor
    weight_N: Tensor
    scaling: Scaling
    offset_C: Tensor
    device: torch.device

    def minimize(self, start: Tensor, anchor: Tensor, penalty: float) -> Tensor:
        """Returns the parameters, weights and bias (C, D + 1), that minimize loss + penalty / 2 * |W - anchor|^2.

        L-BFGS from `start` ends as soon as the gradient says that the loss is within MAX_GAP of its minimum: the gap is
        at most |gradient|^2 / (2 * curvature), where the penalty is the least curvature (Boyd and Vandenberghe, "Convex
        Optimization", 9.1.2). The bias, which is not penalized, is scaled to have about the same curvature.
        """
        scale_C = (1 + penalty / self._bias_curvature()).sqrt()
        scale = torch.ones_like(start)
        scale[:, -1] = scale_C
        point = (start / scale).requires_grad_()
        curvature = max(penalty, MIN_CURVATURE)
        optimizer = torch.optim.LBFGS(
            [point],
            max_iter=MAX_EVALUATIONS,
            max_eval=MAX_EVALUATIONS,
            tolerance_grad=0,
            tolerance_change=0,
            history_size=HISTORY,
            line_search_fn="strong_wolfe",
        )

        def closure() -> Tensor:
            parameters = point.detach() * scale
            loss, gradient = self.loss_and_gradient(parameters)
            distance = parameters[:, :-1] - anchor[:, :-1]
            gradient[:, :-1] += penalty * distance
            point.grad = gradient * scale
            if point.grad.square().sum() <= 2 * curvature * MAX_GAP:
                raise _Reached
            return loss + penalty / 2 * distance.square().sum()

        try:
            optimizer.step(closure)  # type: ignore[no-untyped-call]
            warn(f"setting {penalty:g}: the fit of the head has not converged after {MAX_EVALUATIONS} evaluations")
        except _Reached:
            pass
        return point.detach() * scale

    def loss_and_gradient(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mean loss and its gradient, (C, D + 1) float64."""
        weight_CD = (parameters[:, :-1] / self.scaling.deviation_D).float().to(self.device)
        bias_C = (parameters[:, -1] + self.offset_C).float().to(self.device)
        mean_D = self.scaling.mean_D.float().to(self.device)
        total_weight = self.weight_N.sum()
        in_block = _classes_in_block if self.y.dim() == 1 else _labels_in_block

        def of_block(block: slice) -> tuple[Tensor, Tensor, Tensor]:
            x_BD = self.x_ND[block].to(self.device) - mean_D
            weight_B = self.weight_N[block] / total_weight
            loss_B, residual_BC = in_block(torch.addmm(bias_C, x_BD, weight_CD.T), self.y[block].to(self.device))
            residual_BC *= weight_B.float().to(self.device).unsqueeze(1)
            loss = loss_B.cpu().double() @ weight_B
            return loss, (residual_BC.T @ x_BD).cpu(), residual_BC.cpu().sum(0, dtype=torch.float64)

        loss, gradient = torch.zeros((), dtype=torch.float64), torch.zeros_like(parameters)
        over_blocks = map_in_threads if self.device.type == "cpu" else map  # a GPU is not asked by several threads
        for part, weight_gradient_CD, bias_gradient_C in over_blocks(of_block, blocks_of(len(self.y))):
            loss += part
            gradient[:, :-1] += weight_gradient_CD
            gradient[:, -1] += bias_gradient_C
        gradient[:, :-1] /= self.scaling.deviation_D
        return loss, gradient

    def _bias_curvature(self) -> Tensor:
        """Returns the second derivative of the loss by each bias if all rows have the classes' frequencies, (C,)."""
        outputs = len(self.offset_C)
        if self.y.dim() == 1:
            share_C = torch.zeros(outputs, dtype=torch.float64).scatter_add(0, self.y, self.weight_N)
            share_C /= self.weight_N.sum()
            return (share_C * (1 - share_C)).clamp_min(MIN_CURVATURE)
        share_C = self.weight_N @ self.y.double() / self.weight_N.sum()
        return (share_C * (1 - share_C) / outputs).clamp_min(MIN_CURVATURE)


def _classes_in_block(logits_BC: Tensor, y_B: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the cross-entropy, (B,), and its derivative by the logits, (B, C), which overwrites them."""
    y_B1 = y_B.unsqueeze(1)
    logits_BC -= logits_BC.amax(1, keepdim=True)
    at_class_B1 = logits_BC.gather(1, y_B1)
    residual_BC = logits_BC.exp_()
    total_B1 = residual_BC.sum(1, keepdim=True)
    residual_BC /= total_B1
    residual_BC.scatter_add_(1, y_B1, -torch.ones_like(total_B1))
    return (total_B1.log() - at_class_B1).squeeze(1), residual_BC


def _labels_in_block(logits_BC: Tensor, y_BC: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the mean of the labels' binary cross-entropies, (B,), and its derivative by the logits, (B, C)."""
    loss_BC = F.binary_cross_entropy_with_logits(logits_BC, y_BC.float(), reduction="none")
    return loss_BC.mean(1), (logits_BC.sigmoid() - y_BC) / logits_BC.shape[1]


class _Reached(Exception):
    """The loss is near enough to its minimum."""


def scaling_of(x_ND: Features) -> Scaling:
    """Returns the scaling that standardizes the features (N, D)."""
    blocks = blocks_of(len(x_ND))
    mean_D = total(lambda block: x_ND[block].double().sum(0), blocks) / len(x_ND)
    variance_D = total(lambda block: (x_ND[block].double() - mean_D).square().sum(0), blocks) / len(x_ND)
    return Scaling(mean_D, variance_D.sqrt().clamp_min(FLOOR))


def total(term: Callable[[slice], Tensor], blocks: Sequence[slice]) -> Tensor:
    """Returns the sum of `term` over the blocks."""
    return reduce(torch.add, map_in_threads(term, blocks))
