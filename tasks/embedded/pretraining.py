"""Pretrains the embedded backbone on printed characters and evaluates it on handwritten digits.

Shapes: N glyphs or digits, S side of the input, D features, R probes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch import nn

from tasks.core.progress import say_progress
from tasks.core.schema import EMBEDDED_ARCHITECTURE, Curve, Split
from tasks.embedded.digits import digits
from tasks.embedded.glyphs import CHARACTERS, clean_glyphs, photograph
from tasks.hardware.device import Device
from tasks.heads.linear import best, fit_probes
from tasks.images.loading import prefetch
from tasks.models.backbone import embed
from tasks.models.freezing import EVERYTHING, freeze_all_but_last, learn_mode, parameter_groups
from tasks.scorer.network import Network, build_network
from tasks.scorer.preprocessing import Preprocessing
from tasks.training.loop import Schedule, fit, score
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.state import Checkpoint
from tasks.training.types import Batch, Row

VALIDATION_GLYPHS = 2048
SMOOTHING = 0.05  # label smoothing, because some characters look alike (0 and O, l and I)


def preprocessing(side: int) -> Preprocessing:
    """Returns the preprocessing of the embedded backbone for inputs of `side` pixels."""
    return Preprocessing(resize=side, crop=side, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear")


def pretrained_network(
    batch: int, side: int, rate: float, schedule: Schedule, device: Device, checkpoint: Checkpoint
) -> Network:
    """Returns a network trained to classify 62 printed characters, on new renderings in batches of `batch`."""
    glyph_NGG, class_N = clean_glyphs()
    prepare = preprocessing(side)

    def batches(seed: int, count: int) -> Iterator[Batch]:
        random = torch.Generator().manual_seed(seed)
        for _ in range(count):
            chosen = torch.randint(len(glyph_NGG), (batch,), generator=random)
            x_N3SS = prepare.normalize(photograph(glyph_NGG[chosen], side, random))
            yield Batch(device.place(x_N3SS), class_N[chosen].to(device.device))

    def on_row(row: Row) -> None:
        accuracy = f"accuracy on new glyphs: {row[Curve.VALIDATION_SCORE]:.1%}"
        say_progress(int(row[Curve.EPOCH]), schedule.epochs, f"epochs, {accuracy}")

    torch.manual_seed(schedule.seed)
    network = build_network(EMBEDDED_ARCHITECTURE, len(CHARACTERS))
    device.place(network)
    learning = freeze_all_but_last(network.backbone, EVERYTHING)
    fit(
        network,
        lambda epoch: prefetch(batches(schedule.seed * 1000 + epoch + 1, schedule.steps_per_epoch)),
        lambda: score(network, batches(schedule.seed * 1000, VALIDATION_GLYPHS // batch), device),
        cross_entropy(SMOOTHING),
        schedule,
        groups=parameter_groups(network, learning, rate, rate, layer_lr_decay=1),
        prepare_epoch=lambda _epoch: learn_mode(network, learning, batch_statistics=True),
        device=device,
        checkpoint=checkpoint,
        on_row=on_row,
    )
    return network


def digit_probes(backbone: nn.Module, side: int, labels: int, draws: int, strengths: Sequence[float]) -> list[float]:
    """Returns the test accuracies of `draws` linear probes, (R,), each on `labels` random digits per class.

    The validation and test splits are those of the default data; the labeled digits are drawn from all other images.
    """
    images, digit, split, _ = zip(*digits(), strict=True)
    prepare = preprocessing(side)
    x_N3SS = prepare([Image.fromarray(image).convert("RGB") for image in images])
    x_ND = torch.cat([embed(backbone, part) for part in torch.split(x_N3SS, 64)])
    y_N, split_N = torch.tensor(digit), np.array(split)
    validation, test = (torch.from_numpy(split_N == name) for name in (Split.VALIDATION, Split.TEST))
    pool = np.flatnonzero((split_N == Split.TRAIN) | (split_N == Split.UNLABELED))
    accuracies = []
    for seed in range(draws):
        random = np.random.default_rng(seed)
        drawn = np.concatenate([random.permutation(pool[y_N[pool].numpy() == digit])[:labels] for digit in range(10)])
        train = (x_ND[drawn], y_N[drawn], torch.ones(len(drawn)))
        probe = best(fit_probes(train, (x_ND[validation], y_N[validation]), 10, strengths))
        with torch.inference_mode():
            predicted_N = probe.head(x_ND[test]).argmax(1)
        accuracies.append((predicted_N == y_N[test]).double().mean().item())
    return accuracies
