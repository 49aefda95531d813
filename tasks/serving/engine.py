"""Answers one picture with a version's scorer, in any thread.

Shapes: N images, here 1; C outputs, D features, S side of the network's input. A picture is always answered
alone, so no answer depends on which other pictures are sent at the same time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from tasks.core.target import TargetKind
from tasks.scorer.preprocessing import stacked
from tasks.scorer.readers import opened

if TYPE_CHECKING:
    from tasks.evaluation.prediction_tables import StreamingScorer


@dataclass(frozen=True)
class Outputs:
    """Logits or values (C,), and the features (D,) that the head has computed them from, if asked for."""

    logits_C: Tensor
    feature_D: Tensor | None = None


@dataclass(frozen=True)
class Engine:
    """A loaded version. Call `one_thread_each` in each thread before its first picture."""

    scorer: StreamingScorer
    kind: TargetKind
    max_pixels: int

    def of_picture(self, data: bytes, *, embed: bool = False) -> Outputs:
        """Answers an encoded image. Raises ValueError with the reason if it is broken or has too many pixels."""
        width, height = opened(data).size
        if width * height > self.max_pixels:
            raise ValueError(f"{width} x {height} pixels: more than the {self.max_pixels} that this server accepts")
        square = self.scorer.preprocessing.read(data)
        return self.of_input(self.scorer.preprocessing.network_input(stacked([square])), embed=embed)

    def of_input(self, x_N3SS: Tensor, *, embed: bool = False) -> Outputs:
        """Answers one preprocessed image (1, 3, S, S). Raises ValueError if the outputs are not finite."""
        features: list[Tensor] = []
        logits_NC = self._with_features(x_N3SS, features) if embed else self.scorer.forward(x_N3SS)
        if not all(bool(values.isfinite().all()) for values in (logits_NC, *features)):
            raise ValueError("the model's outputs for this picture are not finite")
        return Outputs(logits_NC[0], features[0][0].float() if features else None)

    def _with_features(self, x_N3SS: Tensor, features: list[Tensor]) -> Tensor:
        network: Any = self.scorer.network
        with torch.inference_mode():
            features.append(network.backbone(x_N3SS.contiguous(memory_format=torch.channels_last)))
            logits_NC: Tensor = network.head(features[0]).float()
        return logits_NC

    @property
    def side(self) -> int:
        """Returns S, the side of the network's input."""
        return self.scorer.preprocessing.crop

    @property
    def names(self) -> tuple[str, ...]:
        """Returns the names of the classes or targets, in the order of the outputs."""
        return self.scorer.classes or self.scorer.targets

    def row(self, outputs: Outputs) -> dict[str, Any]:
        """Returns the scorer's own row: label, probability, confident and distribution; or a value for each target."""
        return self.scorer.row(outputs.logits_C)


def one_thread_each() -> None:
    """Limits this thread to itself: pictures are answered side by side, and sums do not depend on the cores.

    PyTorch initializes a thread's number, from that of the process, when it is first asked.
    """
    torch.get_num_threads()
    torch.set_num_threads(1)
