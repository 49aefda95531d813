"""Head: on frozen features, its setting chosen on validation: linear, dense, prototypes or nearest neighbours."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from tasks.parts.params import Section, StageParams
from tasks.parts.paths import Paths


class HeadSection(Section):
    """The head on the frozen backbone."""

    kind: Literal["linear", "dense", "prototype", "knn"]
    strengths: tuple[float, ...] = Field(
        min_length=1, description="penalties to choose from, on validation loss; of a linear or dense head"
    )
    hidden: int = Field(ge=1, description="units of a dense head's hidden layer")
    rate: float = Field(gt=0, description="AdamW's learning rate of a dense head")
    epochs: int = Field(ge=1, description="passes over the features, of a dense head")
    batch: int = Field(ge=1, description="rows an optimiser step, of a dense head")
    neighbours: tuple[int, ...] = Field(min_length=1, description="numbers to choose from, of a knn head")


class HeadParams(StageParams):
    """What head reads of params.yaml."""

    seed: int
    head: HeadSection


class HeadReport(Section):
    """The chosen setting (penalty, scale or neighbours), and how it does on validation."""

    setting: float
    validation_loss: float
    validation_score: float


def head(paths: Paths, params: HeadParams) -> HeadReport:
    """Writes the head's weights, with what it is, and how it was chosen."""
    import pandas as pd
    import torch

    from tasks.parts import heads, other_heads, weights
    from tasks.parts.errors import ParamsError
    from tasks.parts.files import write_json
    from tasks.parts.goal import Goal
    from tasks.parts.names import FEATURES, Column, Split
    from tasks.parts.objectives.cross_entropy import cross_entropy
    from tasks.parts.objectives.squared_error import squared_error
    from tasks.parts.progress import say
    from tasks.parts.scorer import Scaled

    section = params.head
    index = pd.read_parquet(paths.index)
    x_ND = weights.read(paths.matrix)[0][FEATURES]
    goal = Goal.of(index)
    y = goal.standardised(goal.truth(index))
    train, validation = (
        (x_ND[at], y[at])
        for split in (Split.TRAIN, Split.VALIDATION)
        for at in [torch.tensor((index[Column.SPLIT] == split).to_numpy())]
    )
    settings: dict[str, int] = {}
    if section.kind == "dense":
        settings = {"hidden": section.hidden}
        probes = other_heads.fit_dense(
            train,
            validation,
            goal.outputs,
            section.hidden,
            section.strengths,
            section.rate,
            section.epochs,
            section.batch,
            params.seed,
            squared_error((1.0,)) if goal.targets else cross_entropy,
            heads.VALUES if goal.targets else goal.measure(),
        )
    elif goal.targets and section.kind != "linear":
        raise ParamsError(f"head.kind: a {section.kind} head has no meaning for targets; take linear or dense")
    elif section.kind == "prototype":
        probes = other_heads.fit_prototypes(train, validation, goal.outputs)
    elif section.kind == "knn":
        probes = other_heads.fit_neighbours(train, validation, goal.outputs, section.neighbours)
        settings = {"rows": len(train[0])}
    else:
        weight_N = torch.tensor(index.loc[index[Column.SPLIT] == Split.TRAIN, Column.WEIGHT].to_numpy())
        probes = (
            heads.fit_ridge((*train, weight_N), validation, section.strengths)
            if goal.targets
            else heads.fit_probes((*train, weight_N), validation, goal.outputs, section.strengths)
        )
    chosen = heads.best(probes)
    if section.kind == "knn":
        settings["neighbours"] = int(chosen.setting)
    head = chosen.head
    if goal.targets:
        head = Scaled(head, goal.outputs)
        head.set_scale(goal.mean_K, goal.spread_K)
        settings["scaled"] = 1
    weights.write(paths.head_weights, head.state_dict(), {"kind": section.kind, **settings})
    write_json(paths.probe, [{"setting": p.setting, "loss": p.loss, "score": p.score} for p in probes])
    say(f"{section.kind}, setting {chosen.setting:g}: {goal.told(chosen.score)}")
    return HeadReport(setting=chosen.setting, validation_loss=chosen.loss, validation_score=chosen.score)
