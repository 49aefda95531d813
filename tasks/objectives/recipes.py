"""The recipes that fine-tuning can choose from, and the rungs in which a budget of image passes compares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tasks.core.objective_sections import Objective
from tasks.core.schema import AUTO, EMBEDDED_ARCHITECTURE
from tasks.core.sections import FinetuneSection
from tasks.core.target import TargetSpec
from tasks.models.freezing import EVERYTHING
from tasks.objectives.plans import last_of
from tasks.training.kinds import TAKES_SMALL_HEAD

SMALL_HEAD = 0.1  # times the probe's head: the same classes; the size of its weights harms (docs/fine-tuning.md)
REDUCTION = 3  # recipes per recipe that the next rung goes on with


@dataclass(frozen=True)
class Recipe:
    """Which layers are trained, at which learning rates, from which multiple of the probe's head."""

    name: str
    section: FinetuneSection
    head_scale: float = 1.0


@dataclass(frozen=True)
class Rung:
    """A comparison of `recipes` recipes, each trained for `epochs` epochs."""

    recipes: int
    epochs: int


def is_searched(section: FinetuneSection, objective: Objective, architecture: str) -> bool:
    """Returns whether recipes are compared: never for other objectives, by `auto` not for the embedded network."""
    if objective is not Objective.LABELS or not section.epochs:
        return False
    return section.recipe == "search" or (section.recipe == AUTO and architecture != EMBEDDED_ARCHITECTURE)


def recipes_of(section: FinetuneSection, target: TargetSpec) -> list[Recipe]:
    """Returns the recipes to compare: the configured layers, and the whole network at one learning rate.

    The whole network of a classifier is also trained from a small head.
    """
    number, unit = last_of(section)
    whole = section.model_copy(update={"blocks": EVERYTHING, "layers": None, "decay": 1.0, "unfreeze": 0})
    recipes = [Recipe("whole network", whole)]
    if TAKES_SMALL_HEAD[target.kind]:
        recipes.append(Recipe("whole network, small head", whole, SMALL_HEAD))
    return [*recipes, Recipe(f"last {number} {unit if number != 1 else unit[:-1]}", section)]


def rungs_of(recipes: int, budget: int, *, halving: bool) -> list[Rung]:
    """Divides a budget, in passes over the training images, into rungs with equal shares; without halving, into one.

    Each rung trains a third of the recipes of the one before, for about three times as long (successive halving,
    Jamieson and Talwalkar, "Non-stochastic Best Arm Identification", 2016). Each fit has a schedule of its own, since
    learning rates that are still high hide what a recipe is worth.
    """
    counts = [recipes]
    while halving and counts[-1] > 1:
        counts.append(-(-counts[-1] // REDUCTION))
    return [Rung(count, budget // len(counts) // count) for count in counts]


def passes(rungs: Sequence[Rung], images: int) -> int:
    """Returns the number of image passes that these rungs take on `images` training images."""
    return images * sum(rung.recipes * rung.epochs for rung in rungs)
