"""How much of a classifier's accuracy adversaries leave: an ensemble of attacks after AutoAttack, and checks of it.

Croce and Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse parameter-free attacks"
(2020): APGD on the cross-entropy and on the difference of logits, a minimum-norm attack, and Square, which sees no
gradient; each tries only what those before it left. From the Adversarial Robustness Toolbox, whose only user this is;
it is an optional package, which make attacks installs. What differs: the minimum-norm attack is DeepFool, as that
library has no FAB, and each attack starts once. That the pictures found are within the budget is checked here. Pictures
are (N, 3, S, S) floats in [0, 1].
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
STEPS, QUERIES = 100, 1000  # of APGD and of Square
SLACK = 1e-4  # of a radius, for float32
SUSPICIOUS = 0.02  # share of images that a blind attack may break after those that see gradients


class Pixels(nn.Module):
    """A network that takes pictures in [0, 1]."""

    def __init__(self, network: nn.Module, preprocessing: Preprocessing) -> None:
        super().__init__()
        self.network = network
        self._preprocessing = preprocessing

    def forward(self, pixel_N3SS: Tensor) -> Tensor:
        """Returns logits, (N, C)."""
        logits_NC: Tensor = self.network(self._preprocessing.normalize(pixel_N3SS))
        return logits_NC


def evaluate_attacks(case: EvaluationInput) -> dict[str, float]:
    """Attacks the probe and the tuned model, and writes the table. Returns the tuned model's accuracy after all."""
    rows, preprocessing = sample_rows(case.test, case.section.attacked), case.tuned.preprocessing
    squares = ImageSquares(case.paths.raw, list(rows[Column.PATH]), preprocessing, memory=0)
    pixel_N3SS = preprocessing.center(squares[range(len(rows))])
    y_N = torch.from_numpy(case.target.encode(rows))
    tables = {}
    for name, scorer in ((Candidate.PROBE, case.probe), (Candidate.TUNED, case.tuned)):
        table = robust_accuracy(scorer.network, preprocessing, pixel_N3SS, y_N, case.adversaries, case.batch, case.seed)
        tables[name] = table.assign(model=name, warnings="; ".join(masked(table)))
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
    """Returns the accuracy after each attack and all before it, a row each, and after three more attacks alone.

    These show masked gradients (Athalye et al., 2018): one step that does more than many, a blind attack that does
    more than those that use gradients, and a change without limit that does not break everything.
    Raises RootstockError if an attack leaves its budget.
    """
    torch.manual_seed(seed)
    np.random.seed(seed)  # the library draws from numpy's own state
    model = Pixels(network.eval(), preprocessing)
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
    """Returns the accuracy without an attack, after each one and all before it, and after all."""
    alive_N = hits(model, pixel_N3SS, y_N, batch)
    rows = [(CLEAN, alive_N.mean())]
    for name, attack in ensemble(model, pixel_N3SS, budget, batch):
        if alive_N.any():
            at = torch.from_numpy(np.flatnonzero(alive_N))
            attacked = torch.from_numpy(attack.generate(pixel_N3SS[at].numpy(), y_N[at].numpy()))
            attacked = within(pixel_N3SS[at], attacked, budget, name)
            alive_N[at[~torch.from_numpy(hits(model, attacked, y_N[at], batch))].numpy()] = False
        rows.append((name, alive_N.mean()))
        say(f"{name}: {alive_N.mean():.1%} of {len(alive_N)} images are still answered rightly")
    return [*rows, (ALL, alive_N.mean())]


def masked(table: pd.DataFrame) -> list[str]:
    """Returns signs that gradients are masked, so that the figures say little; none is as it should be."""
    accuracy = dict(zip(table["attack"], table["accuracy"], strict=True))
    blind = accuracy["DeepFool"] - accuracy["Square"]
    signs = {
        "one step does more than twenty": accuracy[ONE_STEP] < accuracy[PGD] - SUSPICIOUS,
        f"an attack without gradients breaks {blind:.1%} more": blind > SUSPICIOUS,
        f"{accuracy[ANYTHING]:.1%} withstand any change at all": accuracy[ANYTHING] > SUSPICIOUS,
    }
    return [sign for sign, is_present in signs.items() if is_present]


def ensemble(model: nn.Module, pixel_N3SS: Tensor, budget: AdversariesSection, batch: int) -> Iterator[tuple[str, Any]]:
    """Yields the attacks, by name, in order."""
    from art.attacks.evasion import AutoProjectedGradientDescent, DeepFool, SquareAttack
    from art.estimators.classification import PyTorchClassifier

    logging.getLogger("art").setLevel(logging.ERROR)
    length = np.inf if budget.norm == "linf" else 2
    with torch.no_grad():
        classes = model(pixel_N3SS[:1].to(next(model.parameters()).device)).shape[1]
    device = "gpu" if next(model.parameters()).is_cuda else "cpu"
    shape = tuple(pixel_N3SS.shape[1:])
    target = PyTorchClassifier(model, nn.CrossEntropyLoss(), shape, classes, clip_values=(0.0, 1.0), device_type=device)
    sizes = {"norm": length, "eps": budget.radius, "batch_size": batch, "verbose": False}
    steps = {"eps_step": 2 * budget.radius, "max_iter": STEPS, "nb_random_init": 1}
    yield "APGD-CE", AutoProjectedGradientDescent(target, loss_type="cross_entropy", **steps, **sizes)
    if classes > 2:  # it compares the best three
        yield "APGD-DLR", AutoProjectedGradientDescent(target, loss_type="difference_logits_ratio", **steps, **sizes)
    yield (
        "DeepFool",
        DeepFool(target, max_iter=50, epsilon=0.02, nb_grads=min(classes, 10), batch_size=batch, verbose=False),
    )
    yield "Square", SquareAttack(target, max_iter=QUERIES, p_init=0.8, nb_restarts=1, **sizes)


def within(pixel_N3SS: Tensor, attacked_N3SS: Tensor, budget: AdversariesSection, name: str) -> Tensor:
    """Returns the attacked pictures; those of a minimum-norm attack that are too far away as they were.

    Raises RootstockError if another attack left its budget.
    """
    change = (attacked_N3SS - pixel_N3SS).flatten(1)
    length_N = change.abs().amax(1) if budget.norm == "linf" else torch.linalg.vector_norm(change, dim=1)
    beyond_N = (attacked_N3SS - attacked_N3SS.clamp(0, 1)).flatten(1).abs().amax(1)
    far_N = (length_N > budget.radius * (1 + SLACK) + SLACK) | (beyond_N > SLACK)
    if name != "DeepFool" and bool(far_N.any()):
        raise RootstockError(f"{name} left its budget: {length_N.max():.4f} instead of {budget.radius:.4f}")
    return torch.where(far_N.view(-1, 1, 1, 1), pixel_N3SS, attacked_N3SS)


def hits(model: nn.Module, pixel_N3SS: Tensor, y_N: Tensor, batch: int) -> np.ndarray:
    """Returns which images are answered rightly, (N,) bool."""
    device = next(model.parameters()).device
    with torch.inference_mode():
        parts = [model(part.to(device)).argmax(1).cpu() for part in torch.split(pixel_N3SS, batch)]
    return np.asarray((torch.cat(parts) == y_N).numpy())


def _loss(supervised: Loss, batch: Batch, output: Tensor) -> Tensor:
    return supervised(lambda _: output, batch)


def pgd(
    attack: Attack, network: Network, preprocessing: Preprocessing, pixel_N3SS: Tensor, y_N: Tensor, batch: int
) -> np.ndarray:
    """Returns which images are answered rightly after this attack, (N,) bool."""
    device, loss, right = next(network.parameters()).device, cross_entropy(), []
    for part, y in zip(torch.split(pixel_N3SS, batch), torch.split(y_N, batch), strict=True):
        truth = y.to(device)
        x = preprocessing.normalize(part.to(device))
        changed = attack(network, x, partial(_loss, loss, Batch(x, truth)))
        with torch.inference_mode():
            right.append((network(changed).argmax(1) == truth).cpu().numpy())
    return np.concatenate(right)
