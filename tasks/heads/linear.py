"""Fits linear heads on frozen features. Shapes: N images, M of them in a sample, D features, C classes, K targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from tasks.core.progress import say
from tasks.hardware.threads import map_in_threads, threads_for_blocks
from tasks.heads.logistic import LogisticProblem, scaling_of, total
from tasks.heads.rows import BLOCK, Features, StandardizedRows, blocks_of, sample
from tasks.training.measures import measure_classes, measure_values
from tasks.training.types import Measure

STANDARDIZED_VALUES = measure_values((1.0,))
CPU = torch.device("cpu")
SAMPLE = 200_000  # rows on which penalties are compared, if there are more


@dataclass(frozen=True)
class Probe:
    """A head fitted with one setting, such as the strength of its penalty, with its validation loss and score."""

    head: nn.Module
    setting: float
    loss: float
    score: float  # accuracy, or R² (regression)


Rows = tuple[Features, Tensor]  # features (N, D) and classes (N,), labels (N, C) or values (N, K)
ScoredRows = tuple[Features | StandardizedRows, Tensor]
Train = tuple[Features, Tensor, Tensor]  # features, targets and weights (N,)


@threads_for_blocks()
def fit_probes(
    train: Train,
    validation: Rows,
    classes: int,
    strengths: Sequence[float],
    start: nn.Linear | None = None,
    log_prior_C: Tensor | None = None,
    measure: Measure = measure_classes,
    device: torch.device = CPU,
) -> list[Probe]:
    """Fits a logistic regression for each strength, strongest first, each initialized from the previous one.

    It is multinomial for classes (N,), and one binary regression per label for labels (N, C). Features (N, D) are
    standardized over the training rows, which is then folded into the head. The penalty, strength / 2 * |W|^2, is added
    to the mean loss; with `start` it is on the distance from `start` (L2-SP, Li et al., 2018). `log_prior_C`, (C,),
    adjusts logits (Menon et al., 2021). L-BFGS as in Kornblith et al., "Do Better ImageNet Models Transfer Better?"
    (2019). If there are more than SAMPLE rows, a sample chooses the strength, and only its fit on all rows is returned.
    """
    offset_C = torch.zeros(classes) if log_prior_C is None else log_prior_C
    part = _problem(sampled(train), offset_C, device)
    anchor = _anchor(start, part, classes)
    parameters, probes = anchor, []
    for strength in sorted(strengths, reverse=True):
        parameters = part.minimize(parameters, anchor, strength)
        probes.append(probe(_linear_of(parameters, part), strength, validation, measure))
    if len(part.y) == len(train[1]):
        return probes
    chosen = best(probes)
    say(f"setting {chosen.setting:g} was chosen on {len(part.y)} of {len(train[1])} rows; fitting it on all")
    whole = _problem(train, offset_C, device)
    fitted = whole.minimize(_anchor(chosen.head, whole, classes), _anchor(start, whole, classes), chosen.setting)
    return [probe(_linear_of(fitted, whole), chosen.setting, validation, measure)]


def sampled(train: Train) -> Train:
    """Returns the training rows, or SAMPLE of them, drawn with a fixed seed, if there are more."""
    x_ND, y, weight_N = train
    if len(y) <= SAMPLE:
        return train
    row_M = np.sort(np.random.default_rng(0).choice(len(y), SAMPLE, replace=False))
    return sample(x_ND, row_M), y[row_M], weight_N[row_M]


def _problem(train: Train, offset_C: Tensor, device: torch.device) -> LogisticProblem:
    x_ND, y, weight_N = train
    return LogisticProblem(x_ND, y, weight_N.double(), scaling_of(x_ND), offset_C, device)


def _anchor(head: nn.Module | None, problem: LogisticProblem, classes: int) -> Tensor:
    """Returns a head's parameters for standardized features, (C, D + 1) float64; zeros without a head."""
    mean_D, deviation_D = problem.scaling
    if head is None:
        return torch.zeros(classes, len(mean_D) + 1, dtype=torch.float64)
    weight_CD, bias_C = (head.state_dict()[name].double() for name in ("weight", "bias"))
    return torch.column_stack([weight_CD * deviation_D, bias_C + weight_CD @ mean_D])


def _linear_of(parameters: Tensor, problem: LogisticProblem) -> nn.Linear:
    weight_CD = parameters[:, :-1] / problem.scaling.deviation_D
    return linear(weight_CD, parameters[:, -1] - weight_CD @ problem.scaling.mean_D)


@threads_for_blocks()
def fit_ridge(train: Train, validation: Rows, strengths: Sequence[float]) -> list[Probe]:
    """Fits a ridge regression (Hoerl and Kennard, 1970) of standardized targets (N, K) for each strength.

    Strongest first. The penalty, strength / 2 * |W|^2, is added to half the mean squared error; features (N, D) are
    standardized as in `fit_probes`.
    """
    x_ND, y_NK, weight_N = train
    y_NK, weight_N = y_NK.double(), weight_N.double() / weight_N.double().sum()
    mean_D, deviation_D = scaling_of(x_ND)
    blocks = blocks_of(len(y_NK))

    def standardized(block: slice) -> Tensor:
        return (x_ND[block].double() - mean_D) / deviation_D

    center_D = total(lambda block: weight_N[block] @ standardized(block), blocks)
    center_K = weight_N @ y_NK

    def moments(block: slice) -> tuple[Tensor, Tensor]:
        z_BD = standardized(block) - center_D
        weighted_DB = (z_BD * weight_N[block, None]).T
        return weighted_DB @ z_BD, weighted_DB @ (y_NK[block] - center_K)

    gram_DD = torch.zeros(len(mean_D), len(mean_D), dtype=torch.float64)
    moment_DK = torch.zeros(len(mean_D), y_NK.shape[1], dtype=torch.float64)
    for gram, moment in map_in_threads(moments, blocks):
        gram_DD += gram
        moment_DK += moment
    identity_DD = torch.eye(len(gram_DD), dtype=torch.float64)
    probes = []
    for strength in sorted(strengths, reverse=True):
        weight_KD = torch.linalg.solve(gram_DD + max(strength, 1e-9) * identity_DD, moment_DK).T
        bias_K = center_K - weight_KD @ (center_D + mean_D / deviation_D)
        probes.append(probe(linear(weight_KD / deviation_D, bias_K), strength, validation, STANDARDIZED_VALUES))
    return probes


def probe(
    head: nn.Module,
    setting: float,
    validation: ScoredRows,
    measure: Measure = measure_classes,
    size: int = BLOCK,
) -> Probe:
    """Returns a fitted head with its loss and score on validation features (N, D) and targets.

    A thread computes the outputs of `size` rows at a time.
    """
    x_ND, y = validation
    head.eval()
    with torch.inference_mode():
        parts = map_in_threads(lambda block: _outputs(head, x_ND[block]), blocks_of(len(y), size))
        loss, score = measure(torch.cat(list(parts)), y)
    return Probe(head, setting, loss, score)


@torch.inference_mode()
def _outputs(head: nn.Module, x_BD: Tensor) -> Tensor:
    output_BC: Tensor = head(x_BD.float())
    return output_BC.double()


def best(probes: Sequence[Probe]) -> Probe:
    """Returns the probe with the lowest validation loss; ties go to the more regularized one."""
    return min(probes, key=lambda probe: probe.loss)


def linear(weight_CD: Tensor, bias_C: Tensor) -> nn.Linear:
    """Returns a linear layer with weights (C, D) and bias (C,)."""
    layer = nn.Linear(weight_CD.shape[1], weight_CD.shape[0])
    layer.load_state_dict({"weight": weight_CD.float(), "bias": bias_C.float()})
    return layer
