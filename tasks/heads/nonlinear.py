"""Fits dense heads, which have one hidden layer. Shapes: N images, D features, C outputs, H and W hidden units."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from tasks.core.progress import say
from tasks.hardware.device import Device
from tasks.heads.linear import Probe, Rows, ScoredRows, Train, probe
from tasks.heads.logistic import scaling_of
from tasks.heads.rows import StandardizedRows, blocks_of
from tasks.models.freezing import ParameterGroup
from tasks.scorer.heads import build_head
from tasks.training.loop import Schedule, fit, score
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.measures import measure_classes
from tasks.training.types import Batch, Loss, Measure, Score, scoring

PATIENCE = 10  # epochs without a lower validation loss before the fit stops
FLOOR = 0.05  # lower bound of a feature's standard deviation, as a fraction of their mean: rare features stay small
ROUNDING = 1e-6  # largest difference in loss between equivalent networks
Standardized = tuple[StandardizedRows, Tensor, Tensor]  # features (N, D), targets and weights (N,)
CPU = Device(torch.device("cpu"), torch.float32)


class NoCheckpoint:
    """A checkpoint that stores nothing, for fits that take seconds."""

    def load(self) -> None:
        """Returns None, since nothing has been saved."""

    def save(self, tensors: dict[str, Tensor], values: dict[str, Any]) -> None:
        """Does nothing."""


@dataclass(frozen=True)
class Dense:
    """The settings for fitting a dense head: its hidden `widths` in growth order, and AdamW's hyperparameters."""

    widths: Sequence[int]
    l2_penalties: Sequence[float]
    lr: float
    epochs: int
    batch: int
    seed: int
    loss: Loss = field(default_factory=cross_entropy)
    measure: Measure = measure_classes


def fit_dense(train: Train, validation: Rows, outputs: int, dense: Dense) -> list[Probe]:
    """Fits a dense head for each weight decay, with early stopping, and widens it while the validation loss falls.

    Features (N, D) are standardized over the training rows; the standardization is then folded into the first layer. A
    wider head initially computes the same function as the narrower one (Net2Net) and is kept only if it reaches a lower
    validation loss.
    """
    x_ND, y, weight_N = train
    mean_D, deviation_D = (moment_D.float() for moment_D in scaling_of(x_ND))
    deviation_D = deviation_D.clamp_min(FLOOR * float(deviation_D.mean()))
    rows = StandardizedRows(x_ND, mean_D, deviation_D), y, (weight_N / weight_N.mean()).float()
    checked = StandardizedRows(validation[0], mean_D, deviation_D), validation[1]
    probes = []
    for strength in sorted(dense.l2_penalties, reverse=True):
        torch.manual_seed(dense.seed)
        head = build_head(x_ND.shape[1], outputs, "dense", hidden=dense.widths[0])
        kept = _fit(head, rows, checked, strength, dense)
        for width in dense.widths[1:]:
            grown = _fit(widened(kept.head, width), rows, checked, strength, dense)
            say(f"{width} hidden units: validation loss {grown.loss:.4f}, before {kept.loss:.4f}")
            if grown.loss > kept.loss - ROUNDING:
                break
            kept = grown
        probes.append(probe(_folded(kept.head, mean_D, deviation_D), strength, validation, dense.measure))
    return probes


def widened(head: nn.Module, width: int) -> nn.Module:
    """Returns a dense head with `width` hidden units that computes the same function (Chen et al., "Net2Net", 2016).

    New units are copies of randomly chosen units; a unit's outgoing weights are split randomly among its copies, so
    that the copies diverge in training.
    """
    first, last = head.get_submodule("0"), head.get_submodule("2")
    weight_HD, bias_H, out_CH = (first.weight.detach(), first.bias.detach(), last.weight.detach())  # type: ignore[operator]
    hidden = len(bias_H)
    source_W = torch.cat([torch.arange(hidden), torch.randint(hidden, (width - hidden,))])
    part_W = torch.rand(width) + 0.5
    part_W = part_W / torch.zeros(hidden).scatter_add(0, source_W, part_W)[source_W]
    wide = build_head(weight_HD.shape[1], len(out_CH), "dense", hidden=width)
    wide.load_state_dict(
        {
            "0.weight": weight_HD[source_W],
            "0.bias": bias_H[source_W],
            "2.weight": out_CH[:, source_W] * part_W,
            "2.bias": last.bias.detach(),  # type: ignore[operator]
        }
    )
    return wide


def _fit(head: nn.Module, train: Standardized, validation: ScoredRows, decay: float, dense: Dense) -> Probe:
    x_ND, y, weight_N = train
    x_VD, y_V = validation

    def batches(epoch: int) -> Iterator[Batch]:
        order = torch.randperm(len(y), generator=torch.Generator().manual_seed(dense.seed * 100_003 + epoch))
        for part in order.split(dense.batch):  # type: ignore[no-untyped-call]
            yield Batch(x_ND[part.numpy()], y[part], weight_N[part])

    def validate() -> Score:
        blocks = (Batch(x_VD[block], y_V[block]) for block in blocks_of(len(y_V)))
        return score(head, blocks, CPU, scoring(dense.measure))

    fit(
        head,
        batches,
        validate,
        dense.loss,
        Schedule(dense.epochs, -(-len(y) // dense.batch), 0.1, decay, PATIENCE, dense.seed),
        groups=[ParameterGroup(list(head.parameters()), dense.lr)],
        prepare_epoch=lambda _epoch: None,
        device=CPU,
        checkpoint=NoCheckpoint(),
        on_row=lambda _row: None,
    )
    return probe(head, decay, validation, dense.measure)


def _folded(head: nn.Module, mean_D: Tensor, deviation_D: Tensor) -> nn.Module:
    """Folds the standardization of features into the head's first layer, in place, and returns the head."""
    first = head.get_submodule("0")
    with torch.no_grad():
        first.weight.div_(deviation_D)  # type: ignore[operator]
        first.bias.sub_(first.weight @ mean_D)  # type: ignore[operator]
    return head
