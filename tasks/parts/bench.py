"""Where candidates are trained: one set of data, one machine, one curve file, a checkpoint each."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from tasks.parts.backbone import learn_mode
from tasks.parts.batches import Batches
from tasks.parts.checkpoint import FileCheckpoint
from tasks.parts.device import Device
from tasks.parts.fit import Progress, Recipe, Row, fit, score
from tasks.parts.goal import Goal
from tasks.parts.names import Candidate, Column, Curve
from tasks.parts.pixels import Squares
from tasks.parts.progress import percent, say
from tasks.parts.scorer import Network, Preprocessing
from tasks.parts.transforms import DRAW


@dataclass(frozen=True)
class Bench:
    """What the candidates share: batches, the planned views (N, V, 7) of the training images, and where they report."""

    train: Batches
    validation: Batches
    draw_NV7: Tensor
    fill: str
    device: Device
    checkpoints: Path
    curves: Path
    goal: Goal

    def fit(
        self,
        candidate: Candidate,
        network: Network,
        recipe: Recipe,
        *,
        learning: Sequence[tuple[str, ...]],
        groups: Sequence[dict[str, Any]],
        batch_statistics: bool,
    ) -> Progress:
        """Fits one candidate. Its rows go to the curve file, its state to a checkpoint of its own."""

        def on_row(row: Row) -> None:
            with self.curves.open("a", encoding="utf-8") as file:
                file.write(json.dumps({Curve.CANDIDATE: candidate, **row}) + "\n")
            told = self.goal.told(row[Curve.VALIDATION_SCORE])
            say(percent(int(row[Curve.EPOCH]), recipe.epochs, f"epochs {candidate}, {told}"))

        self.device.place(network)
        return fit(
            network,
            lambda epoch: self.train.shuffled(epoch, recipe.seed, self.draw_NV7, self.fill),
            lambda: score(network, self.validation.clean(), self.device, self.goal.measure()),
            self.goal.objective(),
            recipe,
            groups=groups,
            learn_mode=lambda: learn_mode(network, learning, batch_statistics=batch_statistics),
            device=self.device,
            checkpoint=FileCheckpoint(self.checkpoints / f"{candidate.slug}.safetensors"),
            on_row=on_row,
        )


def batches(
    root: Path,
    rows: pd.DataFrame,
    goal: Goal,
    preprocessing: Preprocessing,
    device: Device,
    size: int,
    memory: float,
) -> Batches:
    """Batches of these rows of the manifest; `memory` in GiB."""
    squares = Squares(root, list(rows[Column.PATH]), preprocessing, memory)
    weight_N = torch.tensor(rows[Column.WEIGHT].to_numpy(), dtype=torch.float32)
    return Batches(squares, goal.truth(rows), weight_N, preprocessing, device, size)


def draws(plan: pd.DataFrame, pictures: int) -> Tensor:
    """The planned views as (N, V, 7), N pictures in the order of the plan."""
    return torch.tensor(plan[list(DRAW)].to_numpy(), dtype=torch.float32).view(pictures, -1, len(DRAW))
