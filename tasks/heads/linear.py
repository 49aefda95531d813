"""Fits linear heads on frozen features. Shapes: N images, D features, C classes, K targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tasks.training.measures import measure_classes, measure_values
from tasks.training.types import Measure

STANDARDIZED_VALUES = measure_values((1.0,))
STEPS = 200
FLOOR = 1e-6  # lower bound of a feature's standard deviation


@dataclass(frozen=True)
class Probe:
    """A head fitted with one setting, such as the strength of its penalty, with its validation loss and score."""

    head: nn.Module
    setting: float
    loss: float
    score: float  # accuracy, or R² (regression)


Rows = tuple[Tensor, Tensor]  # features (N, D) and classes (N,), labels (N, C) or values (N, K)
Train = tuple[Tensor, Tensor, Tensor]  # features, targets and weights (N,)


def fit_probes(
    train: Train,
    validation: Rows,
    classes: int,
    strengths: Sequence[float],
    start: nn.Linear | None = None,
    log_prior_C: Tensor | None = None,
    measure: Measure = measure_classes,
) -> list[Probe]:
    """Fits a logistic regression for each strength, strongest first, each initialized from the previous one.

    It is multinomial for classes (N,), and one binary regression per label for labels (N, C). Features (N, D) are
    standardized over the training rows, which is then folded into the head. The penalty, strength / 2 * |W|^2, is added
    to the mean loss; with `start` it is on the distance from `start` (L2-SP, Li et al., 2018). `log_prior_C`, (C,),
    adjusts logits (Menon et al., 2021). L-BFGS as in Kornblith et al., "Do Better ImageNet Models Transfer Better?"
    (2019).
    """
    x_ND, y_N, weight_N = train
    x_ND = x_ND.double()
    mean_D, deviation_D = x_ND.mean(0), x_ND.std(0, correction=0).clamp_min(FLOOR)
    z_ND, weight_N = (x_ND - mean_D) / deviation_D, weight_N.double() / weight_N.double().sum()
    anchor = torch.zeros(classes, z_ND.shape[1] + 1, dtype=torch.float64)
    if start is not None:
        weight_CD = start.weight.detach().double()
        anchor = torch.column_stack([weight_CD * deviation_D, start.bias.detach().double() + weight_CD @ mean_D])
    parameters, offset_C = anchor, torch.zeros(classes) if log_prior_C is None else log_prior_C
    probes = []
    for strength in sorted(strengths, reverse=True):
        parameters = _logistic_regression(parameters, (z_ND, y_N, weight_N), anchor, offset_C, strength)
        weight_CD = parameters[:, :-1] / deviation_D
        bias_C = parameters[:, -1] - weight_CD @ mean_D
        probes.append(probe(linear(weight_CD, bias_C), strength, validation, measure))
    return probes


def _logistic_regression(start: Tensor, rows: Train, anchor: Tensor, offset_C: Tensor, strength: float) -> Tensor:
    """Returns the minimum found from `start`, with weights and bias in one tensor (C, D + 1)."""
    z_ND, y_N, weight_N = rows
    parameters = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS([parameters], max_iter=STEPS, tolerance_grad=1e-6, line_search_fn="strong_wolfe")

    def objective() -> Tensor:
        optimizer.zero_grad()
        logits_NC = z_ND @ parameters[:, :-1].T + parameters[:, -1] + offset_C
        if y_N.dim() == 2:
            loss_N = F.binary_cross_entropy_with_logits(logits_NC, y_N.double(), reduction="none").mean(1)
        else:
            loss_N = F.cross_entropy(logits_NC, y_N, reduction="none")
        loss = (loss_N * weight_N).sum()
        loss = loss + strength / 2 * (parameters - anchor)[:, :-1].square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimizer.step(objective)  # type: ignore[no-untyped-call]
    return parameters.detach()


def fit_ridge(train: Train, validation: Rows, strengths: Sequence[float]) -> list[Probe]:
    """Fits a ridge regression (Hoerl and Kennard, 1970) of standardized targets (N, K) for each strength.

    Strongest first. The penalty, strength / 2 * |W|^2, is added to half the mean squared error; features (N, D) are
    standardized as in `fit_probes`.
    """
    x_ND, y_NK, weight_N = (part.double() for part in train)
    weight_N = weight_N / weight_N.sum()
    mean_D, deviation_D = x_ND.mean(0), x_ND.std(0, correction=0).clamp_min(FLOOR)
    z_ND = (x_ND - mean_D) / deviation_D
    center_D, center_K = weight_N @ z_ND, weight_N @ y_NK
    z_ND, y_NK = z_ND - center_D, y_NK - center_K
    gram_DD, moment_DK = z_ND.T @ (z_ND * weight_N[:, None]), z_ND.T @ (y_NK * weight_N[:, None])
    identity_DD = torch.eye(len(gram_DD), dtype=torch.float64)
    probes = []
    for strength in sorted(strengths, reverse=True):
        weight_KD = torch.linalg.solve(gram_DD + max(strength, 1e-9) * identity_DD, moment_DK).T
        bias_K = center_K - weight_KD @ (center_D + mean_D / deviation_D)
        probes.append(probe(linear(weight_KD / deviation_D, bias_K), strength, validation, STANDARDIZED_VALUES))
    return probes


def probe(head: nn.Module, setting: float, validation: Rows, measure: Measure = measure_classes) -> Probe:
    """Returns a fitted head with its loss and score on validation features (N, D) and targets."""
    x_ND, y = validation
    with torch.inference_mode():
        loss, score = measure(head.eval()(x_ND.float()).double(), y)
    return Probe(head, setting, loss, score)


def best(probes: Sequence[Probe]) -> Probe:
    """Returns the probe with the lowest validation loss; ties go to the more regularized one."""
    return min(probes, key=lambda probe: probe.loss)


def linear(weight_CD: Tensor, bias_C: Tensor) -> nn.Linear:
    """Returns a linear layer with weights (C, D) and bias (C,)."""
    layer = nn.Linear(weight_CD.shape[1], weight_CD.shape[0])
    layer.load_state_dict({"weight": weight_CD.float(), "bias": bias_C.float()})
    return layer
