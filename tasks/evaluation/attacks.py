"""Accuracy under adversarial attack: an ensemble of attacks after AutoAttack, and checks for masked gradients.

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks"
(2020): APGD on the cross-entropy and on the difference of logits ratio, a minimum-norm attack, and Square, which uses
no gradients. Each attack runs only on images that have withstood the previous attacks. The implementation is the
Adversarial Robustness Toolbox, an optional package installed by `make attacks`. Two differences: the minimum-norm
attack is DeepFool, since the library lacks FAB, and each attack starts once. Adversarial images are checked to be
within the budget. Shapes: N images, C classes, S side; images are (N, 3, S, S) floats in [0, 1].
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from tasks.core.errors import RootstockError
from tasks.core.objective_sections import AdversariesSection
from tasks.core.progress import say
from tasks.core.schema import Candidate, Column
from tasks.evaluation.candidates import EvaluationInput, sample_rows
from tasks.evaluation.report import write_table
from tasks.images.loading import ImageSquares
from tasks.objectives.losses.adversarial import Attack
from tasks.scorer.network import Network
from tasks.scorer.preprocessing import Preprocessing
from tasks.training.losses.cross_entropy import cross_entropy
from tasks.training.types import Batch, Loss

CLEAN, ALL, ONE_STEP, PGD, ANYTHING = "none", "all of them", "one step", "PGD, 20 steps", "PGD, any change at all"
APGD_STEPS, SQUARE_QUERIES = 100, 1000
TOLERANCE = 1e-4  # absolute, and relative to the radius: rounding in float32
SUSPICIOUS = 0.02  # a difference in accuracy above which gradients are likely masked


class PixelModel(nn.Module):
    """A network with its normalization, for images in [0, 1]."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self._preprocessing = preprocessing

    def forward(self, pixel_N3SS: Tensor) -> Tensor:
        """Returns logits, (N, C), for images (N, 3, S, S)."""
        logits_NC: Tensor = self.network(self._preprocessing.normalize(pixel_N3SS))
        return logits_NC


def evaluate_attacks(case: EvaluationInput) -> dict[str, float]:
    """Attacks the probe and the tuned model and writes the table. Returns the tuned model's final accuracy."""
    rows, preprocessing = sample_rows(case.test, case.section.attacked), case.tuned.preprocessing
    squares = ImageSquares(case.paths.raw, list(rows[Column.PATH]), preprocessing, memory=0)
    pixel_N3SS = preprocessing.center(squares[range(len(rows))])
    y_N = torch.from_numpy(case.target.encode(rows))
    tables = {}
    for name, scorer in ((Candidate.PROBE, case.probe), (Candidate.TUNED, case.tuned)):
        table = robust_accuracy(scorer.network, preprocessing, pixel_N3SS, y_N, case.adversaries, case.batch, case.seed)
        tables[name] = table.assign(model=name, warnings="; ".join(masking_signs(table)))
    write_table(case.paths.attacks, pd.concat(tables.values()))
    accuracy = tables[Candidate.TUNED].set_index("attack")["accuracy"]
    return {"robust_accuracy": float(accuracy[ALL])}


def robust_accuracy(
    network: Network,
    preprocessing: Preprocessing,
    pixel_N3SS: Tensor,
    y_N: Tensor,
    budget: AdversariesSection,
    batch: int,
    seed: int,
) -> pd.DataFrame:
    """Returns a table of accuracies on images (N, 3, S, S): after each attack of the ensemble, and under three others.

    The other three detect masked gradients (Athalye et al., 2018): a single step must not be stronger than many steps,
    nor Square stronger than gradient-based attacks, and an unbounded attack must break every image. Raises
    RootstockError if an attack exceeds its budget.
    """
    torch.manual_seed(seed)
    np.random.seed(seed)  # the library draws from NumPy's global state
    model = PixelModel(network.eval(), preprocessing)
    rows = _ensemble_accuracy(model, pixel_N3SS, y_N, budget, batch)
    for name, radius, steps in (
        (ONE_STEP, budget.radius, 1),
        (PGD, budget.radius, 20),
        (ANYTHING, 1.0 if budget.norm == "linf" else float(pixel_N3SS[0].numel()) ** 0.5, 20),
    ):
        attack = Attack(budget.norm, radius, steps, preprocessing.mean, preprocessing.std)
        rows.append((name, pgd(attack, network, preprocessing, pixel_N3SS, y_N, batch).mean()))
    return pd.DataFrame(rows, columns=["attack", "accuracy"]).assign(images=len(y_N))


def _ensemble_accuracy(
    model: nn.Module, pixel_N3SS: Tensor, y_N: Tensor, budget: AdversariesSection, batch: int
) -> list[tuple[str, float]]:
    """Returns the accuracy on clean images, after each attack and all previous ones, and after all attacks."""
    alive_N = hits(model, pixel_N3SS, y_N, batch)
    rows = [(CLEAN, alive_N.mean())]
    for name, attack in ensemble(model, pixel_N3SS, budget, batch):
        if alive_N.any():
            index = torch.from_numpy(np.flatnonzero(alive_N))
            attacked = torch.from_numpy(attack.generate(pixel_N3SS[index].numpy(), y_N[index].numpy()))
            attacked = enforce_budget(pixel_N3SS[index], attacked, budget, name)
            alive_N[index[~torch.from_numpy(hits(model, attacked, y_N[index], batch))].numpy()] = False
        rows.append((name, alive_N.mean()))
        say(f"{name}: {alive_N.mean():.1%} of {len(alive_N)} images are still classified correctly")
    return [*rows, (ALL, alive_N.mean())]


def masking_signs(table: pd.DataFrame) -> list[str]:
    """Returns signs of masked gradients in a table from `robust_accuracy`; any sign makes the accuracies unreliable."""
    accuracy = dict(zip(table["attack"], table["accuracy"], strict=True))
    blind = accuracy["DeepFool"] - accuracy["Square"]
    signs = {
        "one step does more than twenty": accuracy[ONE_STEP] < accuracy[PGD] - SUSPICIOUS,
        f"an attack without gradients breaks {blind:.1%} more": blind > SUSPICIOUS,
        f"{accuracy[ANYTHING]:.1%} withstand any change at all": accuracy[ANYTHING] > SUSPICIOUS,
    }
    return [sign for sign, is_present in signs.items() if is_present]


def ensemble(model: nn.Module, pixel_N3SS: Tensor, budget: AdversariesSection, batch: int) -> Iterator[tuple[str, Any]]:
    """Yields the attacks with their names, in order, for images (N, 3, S, S)."""
    from art.attacks.evasion import AutoProjectedGradientDescent, DeepFool, SquareAttack
    from art.estimators.classification import PyTorchClassifier

    logging.getLogger("art").setLevel(logging.ERROR)
    norm = np.inf if budget.norm == "linf" else 2
    with torch.no_grad():
        classes = model(pixel_N3SS[:1].to(next(model.parameters()).device)).shape[1]
    device = "gpu" if next(model.parameters()).is_cuda else "cpu"
    shape = tuple(pixel_N3SS.shape[1:])
    target = PyTorchClassifier(model, nn.CrossEntropyLoss(), shape, classes, clip_values=(0.0, 1.0), device_type=device)
    sizes = {"norm": norm, "eps": budget.radius, "batch_size": batch, "verbose": False}
    steps = {"eps_step": 2 * budget.radius, "max_iter": APGD_STEPS, "nb_random_init": 1}
    yield "APGD-CE", AutoProjectedGradientDescent(target, loss_type="cross_entropy", **steps, **sizes)
    if classes > 2:  # the loss compares the three highest logits
        yield "APGD-DLR", AutoProjectedGradientDescent(target, loss_type="difference_logits_ratio", **steps, **sizes)
    yield (
        "DeepFool",
        DeepFool(target, max_iter=50, epsilon=0.02, nb_grads=min(classes, 10), batch_size=batch, verbose=False),
    )
    yield "Square", SquareAttack(target, max_iter=SQUARE_QUERIES, p_init=0.8, nb_restarts=1, **sizes)


def enforce_budget(pixel_N3SS: Tensor, attacked_N3SS: Tensor, budget: AdversariesSection, name: str) -> Tensor:
    """Returns the attacked images, (N, 3, S, S); those that DeepFool perturbed beyond the budget are left unperturbed.

    Raises RootstockError if another attack exceeds its budget.
    """
    change = (attacked_N3SS - pixel_N3SS).flatten(1)
    length_N = change.abs().amax(1) if budget.norm == "linf" else torch.linalg.vector_norm(change, dim=1)
    beyond_N = (attacked_N3SS - attacked_N3SS.clamp(0, 1)).flatten(1).abs().amax(1)
    far_N = (length_N > budget.radius * (1 + TOLERANCE) + TOLERANCE) | (beyond_N > TOLERANCE)
    if name != "DeepFool" and bool(far_N.any()):
        raise RootstockError(
            f"{name} exceeds its budget: a change of {length_N.max():.4f} instead of {budget.radius:.4f}",
            key="attack-budget",
        )
    return torch.where(far_N.view(-1, 1, 1, 1), pixel_N3SS, attacked_N3SS)


def hits(model: nn.Module, pixel_N3SS: Tensor, y_N: Tensor, batch: int) -> np.ndarray:
    """Returns a mask of the images (N, 3, S, S) that are classified correctly, (N,) bool."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        parts = [model(part.to(device)).argmax(1).cpu() for part in torch.split(pixel_N3SS, batch)]
    return np.asarray((torch.cat(parts) == y_N).numpy())


def _loss(supervised: Loss, batch: Batch, output: Tensor) -> Tensor:
    return supervised(lambda _: output, batch)


def pgd(
    attack: Attack, network: Network, preprocessing: Preprocessing, pixel_N3SS: Tensor, y_N: Tensor, batch: int
) -> np.ndarray:
    """Returns a mask of the images (N, 3, S, S) that are classified correctly under this attack, (N,) bool."""
    device, loss, correct = next(network.parameters()).device, cross_entropy(), []
    for part, y in zip(torch.split(pixel_N3SS, batch), torch.split(y_N, batch), strict=True):
        label = y.to(device)
        x = preprocessing.normalize(part.to(device))
        adversarial = attack(network, x, partial(_loss, loss, Batch(x, label)))
        with torch.inference_mode():
            correct.append((network(adversarial).argmax(1) == label).cpu().numpy())
    return np.concatenate(correct)
