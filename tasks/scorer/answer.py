"""Encoded images in, logits out: the single implementation of inference.

This folder is shipped with every model version, so it imports nothing else from the project, and uses relative imports
at the top of each file. Evaluation, batch prediction, serving and the registered model all run it. Shapes: N images, C
classes or targets, D features, R side of the resized square, S side of the center square that the network sees.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from .architectures import folded
from .labels import join_labels
from .network import Network, build_network
from .preprocessing import Preprocessing, stacked

FORMAT = 3  # version of the shipped files and of spec.json


class Scorer:
    """A network with the preprocessing, classes and calibration that it needs to classify encoded images."""

    def __init__(self, network: Network, spec: dict[str, Any]) -> None:
        inference_network = Network(folded(network.backbone), network.head).eval()
        self.network: Network = inference_network.to(memory_format=torch.channels_last)
        self.classes: tuple[str, ...] = tuple(spec["classes"])
        self.targets: tuple[str, ...] = tuple(spec["targets"])
        self.label_thresholds = torch.tensor(spec["label_thresholds"])  # (C,); empty unless multi-label
        self.temperature = float(spec["temperature"])
        self.threshold = float(spec["threshold"])
        self.preprocessing = Preprocessing.of(spec["preprocessing"])

    @classmethod
    def load(cls, spec: Path, weights: Path) -> Scorer:
        """Loads a scorer from spec.json and a safetensors file. Raises RuntimeError if the weights do not fit the spec.

        Not thread-safe: folding traces the network with torch.fx, which patches modules process-wide. Do not call it
        while other threads run inference.
        """
        from safetensors.torch import load_file

        fields = json.loads(spec.read_text(encoding="utf-8"))
        network = build_network(
            fields["architecture"], len(fields["classes"] or fields["targets"]), fields["cut"], **fields["head"]
        )
        network.load_state_dict(load_file(weights))
        return cls(network, fields)

    def logits(self, pictures: Iterable[bytes], batch: int = 64) -> Tensor:
        """Returns uncalibrated logits, or regression values, (N, C) float32, for any number of encoded images.

        Raises ValueError if an image is broken.
        """
        rows = [torch.empty(0, len(self.classes or self.targets))]
        for logits_C, reason in self.stream(pictures, batch):
            if logits_C is None:
                raise ValueError(reason)
            rows.append(logits_C[None])
        return torch.cat(rows)

    def probabilities(self, pictures: Iterable[bytes]) -> Tensor:
        """Returns calibrated probabilities, or regression values, (N, C) float32."""
        return self.calibrated(self.logits(pictures))

    def calibrated(self, logits_NC: Tensor) -> Tensor:
        """Converts logits to probabilities at the fitted temperature, (N, C) each; regression values pass unchanged.

        Guo et al., "On Calibration of Modern Neural Networks", 2017.
        """
        if len(self.label_thresholds):
            return (logits_NC / self.temperature).sigmoid()
        return logits_NC if self.targets else (logits_NC / self.temperature).softmax(-1)

    def row(self, logits_C: Tensor) -> dict[str, Any]:
        """Converts one image's logits (C,) to label, probability, confident and distribution; or to regression values.

        Multi-label: the label joins all labels that reach their thresholds; the probability is the smallest over the C
        decisions.
        """
        output_C = self.calibrated(logits_C)
        if self.targets:
            return dict(zip(self.targets, output_C.tolist(), strict=True))
        if len(self.label_thresholds):
            selected_C = output_C >= self.label_thresholds
            label = join_labels(self.classes, selected_C.tolist())
            probability = float(torch.where(selected_C, output_C, 1 - output_C).min())
        else:
            best = int(output_C.argmax())
            label, probability = self.classes[best], float(output_C[best])
        return {
            "label": label,
            "probability": probability,
            "confident": probability >= self.threshold,
            "distribution": dict(zip(self.classes, output_C.tolist(), strict=True)),
        }

    def stream(self, pictures: Iterable[bytes], batch: int = 64) -> Iterator[tuple[Tensor | None, str]]:
        """Yields (logits (C,), "") for each encoded image in order, or (None, reason) for a broken image.

        Threads decode ahead of the network; at most a few batches are in memory.
        """
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            squares = _map_ahead(pool, self._square, pictures, 2 * batch)
            while chunk := list(islice(squares, batch)):
                decoded = [square for square in chunk if isinstance(square, Tensor)]
                rows = iter(self._score(stacked(decoded)) if decoded else ())
                yield from ((next(rows), "") if isinstance(square, Tensor) else (None, square) for square in chunk)

    def _square(self, picture: bytes) -> Tensor | str:
        try:
            return self.preprocessing.read(picture)
        except ValueError as reason:
            return str(reason)

    def _score(self, square_N3RR: Tensor) -> Tensor:
        return self.forward(self.preprocessing.network_input(square_N3RR))

    def forward(self, x_N3SS: Tensor) -> Tensor:
        """Returns uncalibrated logits, (N, C) float32 on the CPU, for preprocessed images (N, 3, S, S)."""
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            logits_NC: Tensor = self.network(x_N3SS.to(device, memory_format=torch.channels_last))
            return logits_NC.float().cpu()


def spec_of(
    architecture: str,
    classes: Sequence[str],
    preprocessing: Preprocessing,
    cut: str = "layer",
    head: Mapping[str, Any] | None = None,
    *,
    targets: Sequence[str] = (),
    temperature: float = 1.0,
    threshold: float = 0.0,
    label_thresholds: Sequence[float] = (),
    init: str | None = None,
) -> dict[str, Any]:
    """Returns the contents of spec.json, which `Scorer.load` reads.

    Predictions with a probability below `threshold` are not confident; `label_thresholds` (multi-label) are the minimum
    probabilities for assigning each label; `init` names the model that training started from.
    """
    return {
        "format": FORMAT,
        "architecture": architecture,
        "cut": cut,
        "head": dict(head or {"kind": "linear"}),
        "classes": list(classes),
        "targets": list(targets),
        "preprocessing": asdict(preprocessing),
        "temperature": temperature,
        "threshold": threshold,
        "label_thresholds": list(label_thresholds),
        "init": init,
    }


def _map_ahead(
    pool: ThreadPoolExecutor, work: Callable[[bytes], Tensor | str], items: Iterable[bytes], depth: int
) -> Iterator[Tensor | str]:
    """Yields `work(item)` for each item, in order, computed up to `depth` items ahead."""
    waiting: deque[Future[Tensor | str]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
