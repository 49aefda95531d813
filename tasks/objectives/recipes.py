"""The recipes that fine-tuning can choose from, and the rungs in which a budget of image passes compares them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tasks.core.objective_sections import Objective
from tasks.core.schema import AUTO, EMBEDDED_ARCHITECTURE
from tasks.core.sections import FinetuneSection
from tasks.core.target import TargetSpec
from tasks.models.freezing import EVERYTHING
from tasks.training.kinds import SATURATES

SMALL_HEAD = 0.1  # times the probe's head: the same predictions, but no training image is certain
LR_FACTORS = (1.0, 3.0)  # times the learning rates, if there are enough validation images to tell
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
    """Returns whether recipes are compared: those of other objectives, and of the embedded network, are fixed."""
    if objective is not Objective.LABELS or not section.epochs:
        return False
    return section.recipe == "search" or (section.recipe == AUTO and architecture != EMBEDDED_ARCHITECTURE)


def recipes_of(section: FinetuneSection, target: TargetSpec, *, several_rates: bool) -> list[Recipe]:
    """Returns the recipes to compare: the configured layers, and the whole network at one learning rate.

    The whole network is also trained from a small head, where a certain one would leave little gradient.
    """
    last = f"last {section.blocks} blocks" if section.layers is None else f"last {section.layers} layers"
    whole = section.model_copy(update={"blocks": EVERYTHING, "layers": None, "decay": 1.0, "unfreeze": 0})
    recipes = [Recipe("whole network", whole)]
    if SATURATES[target.kind]:
        recipes.append(Recipe("whole network, small head", whole, SMALL_HEAD))
    recipes.append(Recipe(last, section))
    return [_at_rate(recipe, factor) for factor in LR_FACTORS for recipe in recipes] if several_rates else recipes


def _at_rate(recipe: Recipe, factor: float) -> Recipe:
    if factor == 1.0:
        return recipe
    rates = {"rate": recipe.section.rate * factor, "head_rate": recipe.section.head_rate * factor}
    return replace(recipe, name=f"{recipe.name}, lr x {factor:g}", section=recipe.section.model_copy(update=rates))


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
