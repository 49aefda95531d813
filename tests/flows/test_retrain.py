from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from flows.config.parameters import check
from flows.retrain import refuse_early
from tasks.core.errors import ParamsError
from tasks.core.params import read_document
from tasks.core.schema import Column
from tasks.core.sections import Objective
from tasks.models.weights_file import write
from tasks.objectives.teacher import SPEC
from tests.project import ROOT


def test_a_teacher_of_other_classes_is_told_before_anything_is_computed(tmp_path):
    rows = {Column.LABEL: ["ant", "bee"], Column.SPLIT: "train", Column.QUARANTINE: None}
    pd.DataFrame(rows).to_parquet(tmp_path / "manifest.parquet")
    known = {"classes": ["cat", "dog"], "targets": [], "label_thresholds": []}
    write(tmp_path / "teacher", {"weight": torch.zeros(1)}, {SPEC: known})
    params = check(read_document(ROOT / "params.yaml"))
    places = {"manifest": tmp_path / "manifest.parquet", "teacher": tmp_path / "teacher"}
    wanted = {"objective": Objective.DISTILLATION, "teacher": params.teacher.model_copy(update={"weights": "x"})}
    asked = SimpleNamespace(**wanted, evaluate=params.evaluate, paths=SimpleNamespace(**places))
    with pytest.raises(ParamsError, match="the teacher answers cat, dog, but the data asks for ant, bee"):
        refuse_early(asked)
    asked.objective = Objective.LABELS  # nobody asks it then
    refuse_early(asked)
