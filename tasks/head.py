"""Head: on frozen features, its setting chosen on validation: linear, dense, prototypes or nearest neighbours."""

from __future__ import annotations

from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.schema import Balance
from tasks.core.sections import HeadSection


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
    from tasks.heads.choose import choose_head, settings_of
    from tasks.heads.linear import best
    from tasks.models import weights_file as weights
    from tasks.scorer.scorer import Scaled
    from tasks.training.goal import Goal

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
