"""Head: fits a linear, dense, prototype or knn head on frozen features, and selects its setting on validation."""

from __future__ import annotations

from pydantic import Field

from tasks.core.params import Section, StageParams
from tasks.core.paths import Paths
from tasks.core.schema import Balance
from tasks.core.sections import DeviceName, HeadSection


class HeadParams(StageParams):
    """The parameters that head reads."""

    seed: int
    balance: Balance
    head: HeadSection
    device: DeviceName = Field(alias="compute.device")


class HeadReport(Section, allow_inf_nan=True):
    """The selected setting (penalty, scale or number of neighbors) with its validation loss and score."""

    setting: float
    validation_loss: float
    validation_score: float


def head(paths: Paths, params: HeadParams) -> HeadReport:
    """Writes the weights and the description of the head, and the validation results of all settings.

    Raises ParamsError if the problem type does not support the head or the class balance.
    """
    from tasks.core.files import write_json
    from tasks.core.progress import say
    from tasks.core.target import TargetSpec
    from tasks.hardware.device import choose
    from tasks.heads.choose import EarlierModel, choose_head, settings_of
    from tasks.heads.embedded_rows import EmbeddedRows
    from tasks.heads.kinds import unstandardize_head
    from tasks.heads.linear import best
    from tasks.models import weights_file

    section, target = params.head, TargetSpec.load(paths.task)
    rows, earlier = EmbeddedRows.load(paths, target), EarlierModel(*weights_file.read(paths.pretrained))
    device = choose(params.device, "float32").device
    probes = choose_head(rows, target, section, params.balance, params.seed, earlier, device)
    chosen = best(probes)
    learned, scaling = unstandardize_head(chosen.head, target)
    settings = {"kind": section.kind, **settings_of(chosen, section.kind), **scaling}
    weights_file.write(paths.head_weights, learned.state_dict(), settings)
    write_json(paths.probe, [{"setting": p.setting, "loss": p.loss, "score": p.score} for p in probes])
    say(f"{section.kind}, setting {chosen.setting:g}: {target.describe(chosen.score)}")
    return HeadReport(setting=chosen.setting, validation_loss=chosen.loss, validation_score=chosen.score)
