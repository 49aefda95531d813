"""Head: on frozen features, its setting chosen on validation: linear, dense, prototypes or nearest neighbours."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.schema import Balance

Count = Annotated[int, Field(ge=1)]


class HeadSection(Section):
    """The head on the frozen backbone."""

    kind: Literal["linear", "dense", "prototype", "knn"]
    start: Literal["zero", "earlier"] = Field(
        description="of a linear head; earlier: the head of the model that backbone.weights names, its classes' rows"
    )
    strengths: tuple[Annotated[float, Field(ge=0, allow_inf_nan=False)], ...] = Field(
        min_length=1, description="penalties to choose from, on validation loss; of a linear or dense head"
    )
    hidden: int = Field(ge=1, description="units of a dense head's hidden layer")
    grow: tuple[Count, ...] = Field(description="units that a dense head has before it grows to hidden")
    rate: float = Field(gt=0, description="AdamW's learning rate of a dense head")
    epochs: int = Field(ge=1, description="passes over the features, of a dense head; of each step of its growth")
    batch: int = Field(ge=1, description="rows an optimiser step, of a dense head")
    neighbours: tuple[Count, ...] = Field(min_length=1, description="numbers to choose from, of a knn head")


class HeadParams(StageParams):
    """What head reads of params.yaml."""

    seed: int
    balance: Balance
    head: HeadSection


class HeadReport(Section):
    """The chosen setting (penalty, scale or neighbours), and how it does on validation."""

    setting: float
    validation_loss: float
    validation_score: float


def head(paths: Paths, params: HeadParams) -> HeadReport:
    """Writes the head's weights, with what it is, and how it was chosen."""
    import pandas as pd

    from tasks.core.files import write_json
    from tasks.core.progress import say
    from tasks.core.schema import FEATURES
    from tasks.core.target import Goal
    from tasks.heads.choose import choose_head, settings_of
    from tasks.heads.linear import best
    from tasks.models import weights_file as weights
    from tasks.scorer.scorer import Scaled

    section = params.head
    index = pd.read_parquet(paths.index)
    goal = Goal.of(index)
    x_ND = weights.read(paths.matrix)[0][FEATURES]
    probes = choose_head(
        index, x_ND, goal, section.model_dump(), params.balance, params.seed, weights.read(paths.pretrained)
    )
    chosen = best(probes)
    settings = settings_of(chosen, section.kind)
    learned = chosen.head
    if goal.targets:
        learned = Scaled(learned, goal.outputs)
        learned.set_scale(goal.mean_K, goal.spread_K)
        settings["scaled"] = 1
    weights.write(paths.head_weights, learned.state_dict(), {"kind": section.kind, **settings})
    write_json(paths.probe, [{"setting": p.setting, "loss": p.loss, "score": p.score} for p in probes])
    say(f"{section.kind}, setting {chosen.setting:g}: {goal.told(chosen.score)}")
    return HeadReport(setting=chosen.setting, validation_loss=chosen.loss, validation_score=chosen.score)
