"""Inputs that the retrain flow refuses before it begins."""

from __future__ import annotations

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from flows.config.parameters import check
from flows.retrain import check_parameters_fit_data
from tasks.core.errors import EXIT_USAGE, ParamsError
from tasks.core.objective_sections import Objective
from tasks.core.params import read_document
from tasks.core.schema import Column
from tasks.core.target import TargetSpec
from tasks.models.weights_file import write
from tasks.objectives.teacher import SPEC
from tests.errors import raises
from tests.project import ROOT, Project, run_python

FILES = {"manifest": "manifest.parquet", "task": "task.json", "teacher": "teacher"}
WITHOUT_PACKAGE = """
import runpy, sys
_, package, *options = sys.argv
sys.modules[package] = None  # as if it were not installed
sys.argv = ["flows", "retrain", *options]
runpy.run_module("flows", run_name="__main__")
"""


def test_a_teacher_of_other_classes_is_refused_before_anything_is_computed(tmp_path):
    rows = {Column.LABEL: ["ant", "bee"], Column.SPLIT: "train", Column.QUARANTINE: None}
    pd.DataFrame(rows).to_parquet(tmp_path / "manifest.parquet")
    spec = {"classes": ["cat", "dog"], "targets": [], "label_thresholds": []}
    write(tmp_path / "teacher", {"weight": torch.zeros(1)}, {SPEC: spec})
    params = check(read_document(ROOT / "params.yaml"))
    TargetSpec(classes=("ant", "bee")).save(tmp_path / "task.json")
    places = {name: tmp_path / file for name, file in FILES.items()}
    distillation = {"objective": Objective.DISTILLATION, "teacher": params.teacher.model_copy(update={"weights": "x"})}
    params = SimpleNamespace(**distillation, evaluate=params.evaluate, paths=SimpleNamespace(**places))
    with raises(ParamsError, "teacher.weights") as caught:
        check_parameters_fit_data(params)
    assert "cat, dog" in str(caught.value)
    params.objective = Objective.LABELS  # an objective that needs no teacher
    check_parameters_fit_data(params)


@pytest.mark.parametrize(
    ("package", "options", "words"),
    [
        (
            "art",
            "--evaluate.attacked 10",
            ["evaluate.attacked: the package adversarial-robustness-toolbox is not installed", "make attacks"],
        ),
        (
            "voyager",
            "--objective pseudo_labels --unlabelled.neighbours 10 --unlabelled.search index",
            ["unlabelled.search: the package voyager is not installed", "make neighbors"],
        ),
    ],
)
def test_what_is_not_installed_is_refused_before_anything_is_computed(
    prefect_server, tmp_path, package, options, words
):
    project = Project.fresh(tmp_path / "project", prefect_server)
    done = run_python(project.root, "-c", WITHOUT_PACKAGE, package, *options.split(), **project.more)
    assert done.returncode == EXIT_USAGE, done.stdout + done.stderr
    assert all(part in done.stderr for part in words), done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    assert not (project.root / "data" / "raw").exists()
