"""Adversarial training (article): the loss on images that an attack has perturbed within a budget.

Madry et al., "Towards Deep Learning Models Resistant to Adversarial Attacks" (2018): PGD. Zhang et al., "Theoretically
Principled Trade-off between Robustness and Accuracy" (TRADES, 2019). Wong, Rice and Kolter, "Fast is better than free"
(2020): one step from a random start. Cai et al., "Curriculum Adversarial Training" (2018): from easy to hard attacks;
here the radius grows, not the number of steps. Budgets are in pixel values from 0 to 1, before normalization; perturbed
pixels stay in that range. Difference from the papers: the attack runs the network in eval mode, which leaves BatchNorm
statistics unchanged. Shapes: N rows, S side, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from tasks.training.losses.partial_truth import inference_mode_of
from tasks.training.types import Batch, Forward, Loss

Ascent = Callable[[Tensor], Tensor]  # maps outputs to the loss that the attack maximizes, (N,)
Attacker = Callable[[Forward, Tensor, Ascent], Tensor]
FAST = 1.25  # step of the fast attack, as a fraction of the radius (from the paper)


@dataclass(frozen=True)
class Attack:
    """Projected gradient ascent: `steps` steps of size `step`, or of 2.5 radius / steps; `norm` is linf or l2."""

    norm: str
    radius: float
    steps: int
    mean: Sequence[float]
    std: Sequence[float]
    step: float = 0.0

    def __call__(self, network: Forward, x_N3SS: Tensor, loss: Ascent) -> Tensor:
        """Returns perturbed inputs, (N, 3, S, S), normalized like `x_N3SS`."""
        mean, std = (torch.tensor(list(v), device=x_N3SS.device).view(1, -1, 1, 1) for v in (self.mean, self.std))
        pixels = (x_N3SS * std + mean).clamp(0, 1)
        change = self._kept(self._random(pixels), pixels)
        length = self.step or 2.5 * self.radius / self.steps
        with inference_mode_of(network):
            for _ in range(self.steps):
                change = change.detach().requires_grad_()
                with torch.enable_grad():
                    risen = loss(network((pixels + change - mean) / std).float()).sum()
                (gradient,) = torch.autograd.grad(risen, change)
                change = self._kept(change.detach() + length * self._direction(gradient), pixels)
        return ((pixels + change - mean) / std).detach()

    def _random(self, pixels: Tensor) -> Tensor:
        noise = torch.rand_like(pixels) * 2 - 1
        return self.radius * (
            noise if self.norm == "linf" else self._direction(noise) * torch.rand_like(noise[:, :1, :1, :1])
        )

    def _direction(self, gradient: Tensor) -> Tensor:
        return gradient.sign() if self.norm == "linf" else gradient / _length(gradient)

    def _kept(self, change: Tensor, pixels: Tensor) -> Tensor:
        """Projects the perturbation onto the budget and the valid pixel range."""
        if self.norm == "linf":
            change = change.clamp(-self.radius, self.radius)
        else:
            change = change * (self.radius / _length(change)).clamp(max=1)
        return (pixels + change).clamp(0, 1) - pixels


class GrowingAttack:
    """An attack whose radius grows over the first epochs, since some networks fail to train at the full radius."""

    def __init__(self, attack: Attack, epochs: int) -> None:
        self._last = self.now = attack
        self._epochs = epochs

    def begin(self, epoch: int) -> None:
        """Sets the radius for epoch number `epoch`, counted from 0."""
        share = min(1.0, (epoch + 1) / (self._epochs + 1))
        self.now = replace(self._last, radius=share * self._last.radius, step=share * self._last.step)

    def __call__(self, network: Forward, x_N3SS: Tensor, loss: Ascent) -> Tensor:
        """Returns perturbed inputs, (N, 3, S, S), like `Attack`."""
        return self.now(network, x_N3SS, loss)


def _length(x: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(x, dim=(1, 2, 3), keepdim=True)
    return length.clamp_min(1e-12)


def adversarial(supervised: Loss, attack: Attacker) -> Loss:
    """Returns the supervised loss on images that `attack` perturbs to increase it (Madry et al., 2018)."""

    def loss(network: Forward, batch: Batch) -> Tensor:
        changed = attack(network, batch.inputs, lambda output: supervised(lambda _: output, batch))
        return supervised(network, batch._replace(inputs=changed))

    return loss


def trades(supervised: Loss, attack: Attacker, beta: float) -> Loss:
    """Returns the clean loss plus `beta` times the divergence that an attack can cause (TRADES, Zhang et al., 2019)."""

    def loss(network: Forward, batch: Batch) -> Tensor:
        x_N3SS = batch.inputs
        with inference_mode_of(network):  # not under no_grad: autocast would reuse its cached casts without gradients
            clean = network(x_N3SS).float().detach()
        changed = attack(network, x_N3SS, lambda output: divergence(output, clean))
        both = network(torch.cat([x_N3SS, changed])).float()
        now, moved = both[: len(x_N3SS)], both[len(x_N3SS) :]
        return supervised(lambda _: now, batch) + beta * divergence(moved, now)

    return loss


def divergence(moved_NC: Tensor, clean_NC: Tensor) -> Tensor:
    """Returns KL(clean || perturbed) of each row of logits (N, C), (N,)."""
    moved, clean = (logits_NC.log_softmax(1) for logits_NC in (moved_NC, clean_NC))
    return F.kl_div(moved, clean, reduction="none", log_target=True).sum(1)
