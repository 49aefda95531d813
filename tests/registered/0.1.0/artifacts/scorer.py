"""Image bytes in, logits out: the one definition of decoding, preprocessing and network.

This file is shipped with every model version, so it imports nothing of the project. Evaluation, batch prediction,
serving and the registered model all run it. Shapes: N images, C classes, D features, R the side of the resized
square, S the side of the centre square that the network sees.
"""

from __future__ import annotations

import io
import json
import os
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor, nn
from torch.fx.proxy import TraceError


@dataclass(frozen=True)
class Preprocessing:
    """From an upright RGB picture to the network's input: shorter side to R, centre S, (x / 255 - mean) / std.

    With `letterbox` the longer side is R instead, and the rest of the square is black: nothing is cut off.
    """

    resize: int
    crop: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    letterbox: bool = False

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Preprocessing:
        """From its JSON form, where the tuples are lists."""
        return cls(**{**fields, "mean": tuple(fields["mean"]), "std": tuple(fields["std"])})

    def square(self, image: Image.Image) -> Tensor:
        """The centre square after resizing, (3, R, R) uint8: what training keeps and draws its views from."""
        reference = max(image.size) if self.letterbox else min(image.size)
        width, height = (max(int(self.resize * side / reference), 1) for side in image.size)
        resized = image.resize((width, height), Image.Resampling[self.interpolation.upper()])
        left, top = (width - self.resize) // 2, (height - self.resize) // 2
        square = resized.crop((left, top, left + self.resize, top + self.resize))
        return torch.from_numpy(np.array(square)).permute(2, 0, 1)

    def read(self, data: bytes) -> Tensor:
        """The square of an encoded picture. A large JPEG is decoded at a half, quarter or eighth where enough is left.

        Enough is twice the shorter side that is wanted, so that the resizing after it still filters. Raises
        ValueError for what is no whole picture.
        """
        return self.square(decode(data, None if self.letterbox else 2 * self.resize))

    def centre(self, square_N3RR: Tensor) -> Tensor:
        """The part of the squares that the network sees, (N, 3, S, S), as floats in [0, 1], channels last."""
        start = (self.resize - self.crop) // 2
        part = square_N3RR[..., start : start + self.crop, start : start + self.crop]
        return part.to(torch.float32, memory_format=torch.channels_last).div_(255)

    def normalise(self, x_N3SS: Tensor) -> Tensor:
        """Floats in [0, 1] to the range that the backbone was trained on, channels last."""
        return self.normalise_(x_N3SS.clone(memory_format=torch.channels_last))

    def normalise_(self, x_N3SS: Tensor) -> Tensor:
        """The same in place, of floats that are channels last: a row of pixels at a time, as that is quick."""
        width = x_N3SS.shape[-1]
        mean, std = (torch.tensor(v, device=x_N3SS.device).repeat(width) for v in (self.mean, self.std))
        x_N3SS.permute(0, 2, 3, 1).view(-1, x_N3SS.shape[-2], 3 * width).sub_(mean).div_(std)
        return x_N3SS

    def network_input(self, square_N3RR: Tensor) -> Tensor:
        """What the network is given for squares, (N, 3, S, S), channels last."""
        return self.normalise_(self.centre(square_N3RR))

    def __call__(self, images: Sequence[Image.Image]) -> Tensor:
        """Pictures to the network's input, (N, 3, S, S)."""
        return self.network_input(stacked([self.square(image) for image in images]))


def stacked(squares: Sequence[Tensor]) -> Tensor:
    """One batch of squares, (N, 3, R, R), channels last in memory as they were decoded."""
    return torch.stack([square_3RR.permute(1, 2, 0) for square_3RR in squares]).permute(0, 3, 1, 2)


class Network(nn.Module):
    """A backbone, (N, 3, S, S) to (N, D), and a head, (N, D) to (N, C)."""

    backbone: nn.Module
    head: nn.Module

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = head

    def forward(self, x_N3SS: Tensor) -> Tensor:
        """Logits, (N, C)."""
        logits: Tensor = self.head(self.backbone(x_N3SS))
        return logits


LABELS_JOINED = "|"  # stands between the labels of an image that may have several


def joined(labels: Sequence[str], given: Iterable[bool]) -> str:
    """The labels that are given, as one text."""
    return LABELS_JOINED.join(name for name, is_given in zip(labels, given, strict=True) if is_given)


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


def decode(data: bytes, least: int | None = None) -> Image.Image:
    """The complete, upright RGB picture. Raises ValueError with the reason if there is none.

    With `least`, a JPEG may be decoded at a reduced size that still has so many pixels on its shorter side.
    """
    try:
        with Image.open(io.BytesIO(data)) as image:
            if least:
                image.draft(None, (least, least))
            is_pgm = image.format == "PPM"  # has no EXIF; a copy would have no format
            return in_rgb(image if is_pgm else ImageOps.exif_transpose(image))
    except UnidentifiedImageError:
        raise ValueError("not an image that Pillow can read") from None
    except Exception as error:  # what Pillow's readers raise for broken files is an open set
        raise ValueError(f"broken image: {error}") from None


def in_rgb(image: Image.Image) -> Image.Image:
    """RGB in 8 bits; grey in 16 bits is divided by 257, where Pillow would cut it off at 255.

    Raises ValueError for grey in 32 bits, whose white nobody knows.
    """
    in_16 = image.mode.startswith("I;16") or (image.mode == "I" and image.format == "PPM")  # as Pillow reads a PGM
    if image.mode in {"I", "F"} and not in_16:
        raise ValueError("grey in 32 bits; save it with 8 or 16")
    if in_16:
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).astype(np.uint8))
    return image.convert("RGB")


def build_network(
    architecture: str, outputs: int, cut: str = "layer", kind: str = "linear", **settings: int
) -> Network:
    """A network with random weights: `architecture` without what `cut` names, and a head of this `kind`."""
    backbone, width = build_backbone(architecture, cut)
    return Network(backbone, build_head(width, outputs, kind, **settings))


def folded(module: nn.Module) -> nn.Module:
    """A copy in evaluation mode that answers the same sooner: a BatchNorm after a convolution goes into its weights.

    Jacob et al., "Quantization and Training of Neural Networks", 2018, 3.2; with running statistics it is linear, so
    only rounding differs. The module itself, put in that mode, where it has none or its control flow is data-dependent.
    """
    module.eval()
    if not any(isinstance(layer, nn.BatchNorm2d) for layer in module.modules()):
        return module
    from torch.fx.experimental.optimization import fuse

    try:
        return fuse(module)
    except (TraceError, TypeError, RuntimeError):
        return module


def build_head(width: int, outputs: int, kind: str = "linear", **settings: int) -> nn.Module:
    """From features (N, D) to logits or values (N, C). Kinds: linear; dense, as the article's; prototype; knn.

    `scaled` is 1 for a head that learns standardised targets.
    """
    if settings.pop("scaled", 0):
        return Scaled(build_head(width, outputs, kind, **settings), outputs)
    if kind == "dense":
        hidden = settings["hidden"]
        return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
    if kind == "prototype":
        return Prototypes(width, outputs)
    if kind == "knn":
        return Neighbours(width, outputs, **settings)
    return nn.Linear(width, outputs)


class Scaled(nn.Module):
    """A head whose outputs are standardised targets: times the targets' spread, plus their mean."""

    mean_K: Tensor
    spread_K: Tensor

    def __init__(self, inner: nn.Module, outputs: int) -> None:
        super().__init__()
        self.inner = inner
        self.register_buffer("mean_K", torch.zeros(outputs))
        self.register_buffer("spread_K", torch.ones(outputs))

    def set_scale(self, mean_K: Sequence[float], spread_K: Sequence[float]) -> None:
        """Mean and spread of the training targets."""
        self.mean_K.copy_(torch.tensor(mean_K))
        self.spread_K.copy_(torch.tensor(spread_K))

    def forward(self, x_ND: Tensor) -> Tensor:
        """Values, (N, K)."""
        values: Tensor = self.inner(x_ND) * self.spread_K + self.mean_K
        return values


class Prototypes(nn.Module):
    """The cosine to a prototype of each class, times a scale (Snell et al., "Prototypical Networks", 2017)."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(outputs, width))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x_ND: Tensor) -> Tensor:
        """Logits, (N, C)."""
        return self.scale * F.normalize(x_ND, dim=1) @ F.normalize(self.weight, dim=1).T


class Neighbours(nn.Module):
    """The log of the votes of the nearest training features by cosine (Wu et al., "Instance Discrimination", 2018)."""

    keys_RD: Tensor
    votes_RC: Tensor

    def __init__(self, width: int, outputs: int, rows: int, neighbours: int) -> None:
        super().__init__()
        self.neighbours = neighbours
        self.register_buffer("keys_RD", torch.zeros(rows, width))
        self.register_buffer("votes_RC", torch.zeros(rows, outputs))

    def forward(self, x_ND: Tensor) -> Tensor:
        """Logits, (N, C): the log of each class's share of the votes, each weighted by exp(cosine / 0.07)."""
        near = (F.normalize(x_ND, dim=1) @ self.keys_RD.T).topk(self.neighbours, dim=1)
        weight_NK1 = (near.values / 0.07).softmax(1).unsqueeze(2)
        return ((self.votes_RC[near.indices] * weight_NK1).sum(1) + 1e-3).log()


def build_backbone(architecture: str, cut: str = "layer") -> tuple[nn.Module, int]:
    """A torchvision classification model, randomly initialised, and its width D.

    It is cut before its last linear layer; with `cut` = "classifier", before the first one of its classifier, which
    Keras calls include_top=False.
    """
    from torchvision.models import get_model  # imported where a network is built, since it takes two seconds

    settings = SETTINGS.get(architecture, {})
    module = OWN[architecture]() if architecture in OWN else get_model(architecture, weights=None, **settings)
    name, last = classifier_of(module)
    parent, _, leaf = name.rpartition(".")
    if cut == "classifier" and isinstance(module.get_submodule(parent), nn.Sequential) and parent:
        layers = list(module.get_submodule(parent).children())
        first = next(place for place, layer in enumerate(layers) if isinstance(layer, nn.Linear))
        setattr(module, parent, nn.Sequential(*layers[:first], nn.Flatten(1)))
        return module, layers[first].in_features
    if isinstance(last, nn.Linear):
        setattr(module.get_submodule(parent), leaf, nn.Identity())
        return module, last.in_features
    setattr(module, name, nn.AdaptiveAvgPool2d(1))
    return module, last.in_channels


def classifier_of(module: nn.Module) -> tuple[str, nn.Linear | nn.Conv2d]:
    """The name and layer that turns features into classes: the last linear one, or SqueezeNet's 1x1 convolution."""
    linear = [(name, layer) for name, layer in module.named_modules() if isinstance(layer, nn.Linear)]
    if linear:
        return linear[-1]
    return "classifier", next(
        layer for layer in module.get_submodule("classifier").children() if isinstance(layer, nn.Conv2d)
    )


def resnet10() -> nn.Module:
    """ResNet-10: four stages of one basic block, the architecture of the embedded backbone."""
    from torchvision.models.resnet import BasicBlock, ResNet

    network: nn.Module = ResNet(BasicBlock, [1, 1, 1, 1])
    return network


def small_resnet(blocks: int) -> nn.Module:
    """The ResNet of 6 `blocks` + 2 layers for small pictures: no stride before its second stage (He et al., 2016)."""
    from torchvision.models.resnet import BasicBlock, conv1x1, conv3x3

    def stage(inputs: int, width: int, stride: int) -> nn.Sequential:
        shortcut = None
        if stride > 1:
            shortcut = nn.Sequential(conv1x1(inputs, width, stride), nn.BatchNorm2d(width))
        first = BasicBlock(inputs, width, stride, shortcut)
        return nn.Sequential(first, *(BasicBlock(width, width) for _ in range(blocks - 1)))

    layers = {"conv1": conv3x3(3, 16), "bn1": nn.BatchNorm2d(16), "relu": nn.ReLU()}
    layers |= {"layer1": stage(16, 16, 1), "layer2": stage(16, 32, 2), "layer3": stage(32, 64, 2)}
    layers |= {"avgpool": nn.AdaptiveAvgPool2d(1), "flatten": nn.Flatten(), "fc": nn.Linear(64, 1000)}
    network = nn.Sequential(OrderedDict(layers))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return network


OWN: dict[str, Callable[[], nn.Module]] = {
    "resnet10": resnet10,
    "resnet8": partial(small_resnet, 1),
    "resnet20": partial(small_resnet, 3),
}
# As torchvision builds them for its pretrained weights, without the side branches that only ImageNet training used.
INCEPTION = {"aux_logits": False, "transform_input": True, "init_weights": True}
SETTINGS: dict[str, dict[str, Any]] = {"googlenet": INCEPTION, "inception_v3": INCEPTION}
