"""Head: fits a linear, dense, prototype or knn head on frozen features, and selects its setting on validation."""

from __future__ import annotations

from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.schema import Balance
from tasks.core.sections import HeadSection


class HeadParams(StageParams):
    """The parameters that head reads."""

    seed: int
    balance: Balance
    head: HeadSection


class HeadReport(Section, allow_inf_nan=True):
    """The selected setting (penalty, scale or number of neighbors) with its validation loss and score."""

    setting: float
    validation_loss: float
    validation_score: float


def head(paths: Paths, params: HeadParams) -> HeadReport:
    """Writes the weights and the description of the head, and the validation results of all settings.

    Raises ParamsError if the problem type does not support the head or the class balance.
    """
    import pandas as pd

    from tasks.core.files import write_json
    from tasks.core.progress import say
    from tasks.core.schema import FEATURES
    from tasks.core.target import TargetSpec
    from tasks.heads.choose import EarlierModel, choose_head, settings_of
    from tasks.heads.kinds import unstandardize_head
    from tasks.heads.linear import best
    from tasks.models import weights_file

    section = params.head
    index = pd.read_parquet(paths.index)
    target = TargetSpec.load(paths.task)
    x_ND = weights_file.read(paths.matrix)[0][FEATURES]
    earlier = EarlierModel(*weights_file.read(paths.pretrained))
    probes = choose_head(index, x_ND, target, section, params.balance, params.seed, earlier)
    chosen = best(probes)
    learned, scaling = unstandardize_head(chosen.head, target)
    settings = {"kind": section.kind, **settings_of(chosen, section.kind), **scaling}
    weights_file.write(paths.head_weights, learned.state_dict(), settings)
    write_json(paths.probe, [{"setting": p.setting, "loss": p.loss, "score": p.score} for p in probes])
    say(f"{section.kind}, setting {chosen.setting:g}: {target.describe(chosen.score)}")
    return HeadReport(setting=chosen.setting, validation_loss=chosen.loss, validation_score=chosen.score)
