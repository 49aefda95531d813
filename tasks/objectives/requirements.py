"""Checks that the manifest and the installed packages support the objective before anything is computed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from tasks.core.errors import ParamsError
from tasks.core.objective_sections import Objective, UnlabeledSection
from tasks.core.schema import Split
from tasks.core.target import TargetKind, TargetSpec
from tasks.data.manifest import of_split

if TYPE_CHECKING:
    import pandas as pd

SELF_TRAINING = {Objective.PSEUDO_LABELS, Objective.FIXMATCH}
DOMAIN_ADAPTATION = {Objective.BATCHNORM, Objective.CORAL, Objective.DANN, Objective.MCC}
UNSUPPORTED = {  # objectives that a problem type does not support
    TargetKind.CLASSIFICATION: set[Objective](),
    TargetKind.MULTILABEL: {*SELF_TRAINING, *DOMAIN_ADAPTATION, Objective.TRADES},
    TargetKind.REGRESSION: {*SELF_TRAINING, Objective.MCC, Objective.TRADES},
}


def check_objective_supported(objective: Objective, manifest: pd.DataFrame, target: TargetSpec) -> None:
    """Raises ParamsError if the problem type does not support the objective, or if unlabeled images are missing."""
    if objective in UNSUPPORTED[target.kind]:
        raise ParamsError(
            f"objective: {objective} is not defined for {target.summary}: it needs one class per image; take labels "
            "or distillation",
            key="objective",
        )
    if objective in SELF_TRAINING | DOMAIN_ADAPTATION and of_split(manifest, Split.UNLABELED).empty:
        raise ParamsError(
            f"objective: {objective} needs unlabeled images, and there are none; put them into unlabelled/, next to "
            "train/, or add rows without a label to the table",
            key="unlabeled-images-missing",
        )


def uses_index(objective: Objective, section: UnlabeledSection) -> bool:
    """Returns whether neighbors are looked up in an index."""
    return objective is Objective.PSEUDO_LABELS and section.neighbours > 0 and section.search == "index"


def check_search_installed(objective: Objective, section: UnlabeledSection) -> None:
    """Raises ParamsError if an index of neighbors is requested, and its optional package is not installed."""
    if uses_index(objective, section) and find_spec("voyager") is None:
        raise ParamsError(
            "unlabelled.search: the package voyager is not installed; run make neighbors, or set it to exact",
            key="neighbors-not-installed",
        )
