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
    from tasks.core.target import TargetSpec
    from tasks.heads.choose import EarlierModel, choose_head, settings_of
    from tasks.heads.kinds import unstandardize_head
    from tasks.heads.linear import best
    from tasks.models import weights_file as weights

    section = params.head
    index = pd.read_parquet(paths.index)
    target = TargetSpec.load(paths.task)
    x_ND = weights.read(paths.matrix)[0][FEATURES]
    earlier = EarlierModel(*weights.read(paths.pretrained))
    probes = choose_head(index, x_ND, target, section, params.balance, params.seed, earlier)
    chosen = best(probes)
    learned, scaling = unstandardize_head(chosen.head, target)
    settings = {"kind": section.kind, **settings_of(chosen, section.kind), **scaling}
    weights.write(paths.head_weights, learned.state_dict(), settings)
    write_json(paths.probe, [{"setting": p.setting, "loss": p.loss, "score": p.score} for p in probes])
    say(f"{section.kind}, setting {chosen.setting:g}: {target.describe(chosen.score)}")
    return HeadReport(setting=chosen.setting, validation_loss=chosen.loss, validation_score=chosen.score)
