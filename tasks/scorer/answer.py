"""Image bytes in, logits out: the one definition of what a model answers.

This folder is shipped with every model version, so it imports nothing of the project but itself, by relative imports
at the top. Evaluation, batch prediction, serving and the registered model all run it. Shapes: N images, C classes,
D features, R the side of the resized square, S the side of the center square that the network sees.
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
from .labels import joined
from .network import Network, build_network
from .preprocessing import Preprocessing, stacked

FORMAT = 2  # of what is shipped: which files, and how spec.json is to be read


class Scorer:
    """A network with all it needs to answer for image bytes."""

    def __init__(self, network: Network, spec: dict[str, Any]) -> None:
        answering = Network(folded(network.backbone), network.head).eval()
        self.network: Network = answering.to(memory_format=torch.channels_last)
        self.classes: tuple[str, ...] = tuple(spec["classes"])
        self.targets: tuple[str, ...] = tuple(spec["targets"])
        self.label_thresholds = torch.tensor(spec["label_thresholds"])  # empty: an image has one class
        self.temperature = float(spec["temperature"])
        self.threshold = float(spec["threshold"])
        self.preprocessing = Preprocessing.of(spec["preprocessing"])

    @classmethod
    def load(cls, spec: Path, weights: Path) -> Scorer:
        """From spec.json and a safetensors file. Raises RuntimeError if the weights are not the spec's network.

        Not while other threads of the process answer: folding traces the network, and torch.fx does so for all of it.
        """
        from safetensors.torch import load_file

        fields = json.loads(spec.read_text(encoding="utf-8"))
        network = build_network(
            fields["architecture"], len(fields["classes"] or fields["targets"]), fields["cut"], **fields["head"]
        )
        network.load_state_dict(load_file(weights))
        return cls(network, fields)

    def logits(self, pictures: Iterable[bytes], batch: int = 64) -> Tensor:
        """Uncalibrated logits, or values of the targets, (N, C) float32, of any number of encoded images.

        Raises ValueError for a broken one.
        """
        rows = [torch.empty(0, len(self.classes or self.targets))]
        for logits_C, reason in self.stream(pictures, batch):
            if logits_C is None:
                raise ValueError(reason)
            rows.append(logits_C[None])
        return torch.cat(rows)

    def probabilities(self, pictures: Iterable[bytes]) -> Tensor:
        """Calibrated probabilities, (N, C) float32."""
        return self.calibrated(self.logits(pictures))

    def calibrated(self, logits_NC: Tensor) -> Tensor:
        """Probabilities from logits, (N, C) both (Guo et al., 2017); values of targets stay as they are."""
        if len(self.label_thresholds):
            return (logits_NC / self.temperature).sigmoid()
        return logits_NC if self.targets else (logits_NC / self.temperature).softmax(-1)

    def row(self, logits_C: Tensor) -> dict[str, Any]:
        """The answer for one image: label, probability, whether that is confident, distribution; or the targets.

        Of several labels it is all that reach their thresholds, joined, and the probability is that of the least sure.
        """
        output_C = self.calibrated(logits_C)
        if self.targets:
            return dict(zip(self.targets, output_C.tolist(), strict=True))
        if len(self.label_thresholds):
            given_C = output_C >= self.label_thresholds
            label, sure = (
                joined(self.classes, given_C.tolist()),
                float(torch.where(given_C, output_C, 1 - output_C).min()),
            )
        else:
            best = int(output_C.argmax())
            label, sure = self.classes[best], float(output_C[best])
        return {
            "label": label,
            "probability": sure,
            "confident": sure >= self.threshold,
            "distribution": dict(zip(self.classes, output_C.tolist(), strict=True)),
        }

    def stream(self, pictures: Iterable[bytes], batch: int = 64) -> Iterator[tuple[Tensor | None, str]]:
        """In order, for each encoded image: its logits, (C,), or None and why there are none.

        Images are decoded ahead by threads, and no more than a few batches are held at a time.
        """
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            squares = _ahead(pool, self._square, pictures, 2 * batch)
            while chunk := list(islice(squares, batch)):
                good = [square for square in chunk if isinstance(square, Tensor)]
                rows = iter(self._scored(stacked(good)) if good else ())
                yield from ((next(rows), "") if isinstance(square, Tensor) else (None, square) for square in chunk)

    def _square(self, picture: bytes) -> Tensor | str:
        try:
            return self.preprocessing.read(picture)
        except ValueError as reason:
            return str(reason)

    def _scored(self, square_N3RR: Tensor) -> Tensor:
        return self.forward(self.preprocessing.network_input(square_N3RR))

    def forward(self, x_N3SS: Tensor) -> Tensor:
        """Uncalibrated logits, (N, C) float32 on the CPU, of preprocessed pictures."""
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
    """What `Scorer.load` needs to know, as JSON can hold it.

    Answers below the `threshold` of probability are not to be trusted; `label_thresholds`, where an image may have
    several labels, are the probabilities from which each is given; `init` names the model this one goes on from.
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


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[bytes], Tensor | str], items: Iterable[bytes], depth: int
) -> Iterator[Tensor | str]:
    """What `work` makes of each item, in order, `depth` items ahead."""
    waiting: deque[Future[Tensor | str]] = deque()
    for item in items:
        waiting.append(pool.submit(work, item))
        if len(waiting) > depth:
            yield waiting.popleft().result()
    while waiting:
        yield waiting.popleft().result()
