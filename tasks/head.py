"""Head: a linear head on frozen features, its regularisation chosen on validation."""

from __future__ import annotations

from pydantic import Field

from tasks.parts.params import Paths, Section, StageParams


class HeadSection(Section):
    """The head on the frozen backbone."""

    strengths: tuple[float, ...] = Field(min_length=1, description="L2 penalties to choose from, on validation loss")


class HeadParams(StageParams):
    """What head reads of params.yaml."""

    head: HeadSection


class HeadReport(Section):
    """The chosen regularisation, and how it does on validation."""

    strength: float
    validation_loss: float
    validation_accuracy: float


def head(paths: Paths, params: HeadParams) -> HeadReport:
    """Writes the head's weights and how it was chosen."""
    import pandas as pd
    import torch

    from tasks.parts import heads, weights
    from tasks.parts.files import write_json
    from tasks.parts.manifest import class_names, class_numbers
    from tasks.parts.names import FEATURES, HEAD_BIAS, HEAD_WEIGHT, Column, Split
    from tasks.parts.progress import say

    index = pd.read_parquet(paths.index)
    x_ND = weights.read(paths.matrix)[0][FEATURES]
    classes = class_names(index)
    y_N = torch.from_numpy(class_numbers(index, classes))
    is_train, is_validation = (
        torch.tensor((index[Column.SPLIT] == split).to_numpy()) for split in (Split.TRAIN, Split.VALIDATION)
    )
    train = (x_ND[is_train], y_N[is_train], torch.ones(int(is_train.sum())))
    probes = heads.fit_probes(train, (x_ND[is_validation], y_N[is_validation]), len(classes), params.head.strengths)
    chosen = heads.best(probes)
    weights.write(paths.head_weights, {HEAD_WEIGHT: chosen.weight_CD, HEAD_BIAS: chosen.bias_C})
    write_json(paths.probe, [{"strength": p.strength, "loss": p.loss, "accuracy": p.accuracy} for p in probes])
    say(f"strength {chosen.strength:g}: validation accuracy {chosen.accuracy:.1%}")
    return HeadReport(strength=chosen.strength, validation_loss=chosen.loss, validation_accuracy=chosen.accuracy)
