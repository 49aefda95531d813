"""What an objective has a meaning for: known from the manifest, so told before anything is computed."""

from __future__ import annotations

import pandas as pd

from tasks.core.errors import ParamsError
from tasks.core.schema import Split
from tasks.core.sections import Objective
from tasks.data.manifest import label_names, of_split, target_names

SELF = {Objective.PSEUDO_LABELS, Objective.FIXMATCH}
DOMAIN = {Objective.BATCHNORM, Objective.CORAL, Objective.DANN, Objective.MCC}
CLASSES_ONLY = {*SELF, Objective.MCC, Objective.TRADES}


def refuse_unsuited(objective: Objective, manifest: pd.DataFrame) -> None:
    """Raises ParamsError for an objective that has no meaning for these images, or lacks some."""
    several = bool(label_names(manifest))
    what = "targets" if target_names(manifest) else "several labels" if several else ""
    if what and objective in CLASSES_ONLY:
        raise ParamsError(f"objective: {objective} has no meaning for {what}: it needs one class an image")
    if several and objective in DOMAIN:
        raise ParamsError(f"objective: {objective} knows one class an image, or targets; take distillation or labels")
    if objective in SELF | DOMAIN and of_split(manifest, Split.UNLABELLED).empty:
        raise ParamsError(
            "objective: it learns from unlabelled images, and there are none; put them below unlabelled/, beside "
            "train/, or give a table rows without a label"
        )
