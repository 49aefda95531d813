"""What an objective needs of the data: checked from the manifest, before anything is computed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tasks.core.errors import ParamsError
from tasks.core.objective_sections import Objective
from tasks.core.schema import Split
from tasks.core.target import TargetKind, TargetSpec
from tasks.data.manifest import of_split

if TYPE_CHECKING:
    import pandas as pd

SELF_TRAINING = {Objective.PSEUDO_LABELS, Objective.FIXMATCH}
DOMAIN_ADAPTATION = {Objective.BATCHNORM, Objective.CORAL, Objective.DANN, Objective.MCC}
UNSUPPORTED = {  # objectives that are not defined for a problem type
    TargetKind.CLASSIFICATION: set[Objective](),
    TargetKind.MULTILABEL: {*SELF_TRAINING, *DOMAIN_ADAPTATION, Objective.TRADES},
    TargetKind.REGRESSION: {*SELF_TRAINING, Objective.MCC, Objective.TRADES},
}


def check_objective_supported(objective: Objective, manifest: pd.DataFrame, target: TargetSpec) -> None:
    """Raises ParamsError for an objective that this problem type does not support, or that lacks unlabeled images."""
    if objective in UNSUPPORTED[target.kind]:
        raise ParamsError(
            f"objective: {objective} has no meaning for {target.summary}: it needs one class an image; take labels or "
            "distillation"
        )
    if objective in SELF_TRAINING | DOMAIN_ADAPTATION and of_split(manifest, Split.UNLABELED).empty:
        raise ParamsError(
            "objective: it learns from unlabelled images, and there are none; put them below unlabelled/, beside "
            "train/, or give a table rows without a label"
        )
