"""The lesson of adversaries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from tasks.core.schema import Curve
from tasks.core.sections import Methods, Objective
from tasks.hardware.microbatches import Batch, Parts
from tasks.objectives.context import Setting
from tasks.objectives.losses.adversarial import FAST, Attack, Growing, adversarial, trades
from tasks.scorer.scorer import Network
from tasks.training.loop import outputs, score
from tasks.training.state import Row
from tasks.training.trainer import Bench, Lesson
from tasks.training.types import Objective as Loss
from tasks.training.types import Scored


def defend(setting: Setting, methods: Methods, base: Lesson) -> Lesson:
    """Learn on pictures that an adversary changed; an epoch that loses too much without one is not kept."""
    section, bench = methods.adversaries, setting.bench
    pictures = setting.backbone.preprocessing
    attack = Attack(section.norm, section.radius, section.steps, pictures.mean, pictures.std)
    trained = replace(attack, steps=1, step=FAST * section.radius) if methods.objective is Objective.FAST else attack
    growing = Growing(trained, section.grow)
    loss = adversarial(base.objective, growing)
    if methods.objective is Objective.TRADES:
        loss = trades(base.objective, growing, section.beta)

    def begin(epoch: int, network: Network) -> None:
        base.begin(epoch, network)
        growing.begin(epoch)

    def validate(network: Network) -> Scored:
        clean = score(network, bench.validation.clean(), bench.device, bench.measure)
        found = under_attack(network, bench, attack, base.objective)
        return found[0], found[1], {Curve.CLEAN_SCORE.value: clean[1]}

    def eligible(curve: Sequence[Row]) -> bool:
        return curve[-1][Curve.CLEAN_SCORE] >= curve[0][Curve.CLEAN_SCORE] - section.clean

    return replace(base, objective=loss, begin=begin, validate=validate, eligible=eligible, cache=0)


def under_attack(network: Network, bench: Bench, attack: Attack, own: Loss) -> Scored:
    """Loss and score on the validation images, each changed for the worse; the same changes each time."""
    with torch.random.fork_rng(devices=[bench.device.device] if bench.device.is_cuda else []):
        torch.manual_seed(0)
        found, parts = [], Parts()
        network.eval()

        def changed(chunks: list[Batch]) -> Tensor:
            return torch.cat([attack(network, x_N3SS, _loss(own, x_N3SS, y)) for x_N3SS, y in chunks])

        for x_N3SS, y, *_ in bench.validation.clean():
            with bench.device.autocast():
                attacked_N3SS = parts.tried(changed, (x_N3SS, y))
            found.append(outputs(network, [(attacked_N3SS, y)], bench.device))
    output, truth = (torch.cat(parts) for parts in zip(*found, strict=True))
    return bench.measure(output, truth)


def _loss(own: Loss, x_N3SS: Tensor, y: Tensor) -> Callable[[Tensor], Tensor]:
    """The loss of outputs."""
    return lambda output: own(lambda _: output, x_N3SS, y)
