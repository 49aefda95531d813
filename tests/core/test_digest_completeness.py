"""Each module that a stage loads, even lazily, is in its closure, from which dvc.yaml and cache keys are built."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from flows.config.overrides import write_values
from tasks.core.digest import ROOT, closure
from tasks.core.files import write_json
from tasks.core.objective_sections import Objective
from tasks.core.schema import STAGES
from tasks.data.tables.copying import bring_together
from tasks.data.tables.options import TableOptions
from tasks.embedding import context as contexts
from tasks.models.weights_file import write
from tests.candidates import write_good_and_bad
from tests.conftest import SMALL, TINY
from tests.drawn import SHAPES, drawn, write_discs, write_scenes, write_shapes

FLOWS_ONLY = {  # roots of modules that only flows import, never stages
    *(
        "tasks.data.archives",
        "tasks.runner.fork_server",
        "tasks.data.tables.copying",
        "tasks.data.tables.discovery",
        "tasks.embedded.pretraining",
        *("tasks.evaluation.batch_prediction", "tasks.evaluation.scorer_code", "tasks.evaluation.version_scorer"),
    ),
    *("tasks.evaluation.answer_text", "tasks.gate.class_answers", "tasks.gate.kinds"),
    *("tasks.serving.answers", "tasks.serving.bodies", "tasks.serving.golden", "tasks.serving.limits"),
    *("tasks.serving.open_inference", "tasks.serving.output_tensors", "tasks.serving.quarantine"),
}
NO_FEATURE = {  # loaded by the features stage, but features do not depend on them
    *("tasks.core.supervision", "tasks.features", "tasks.runner.stages"),  # run the stage
    *("tasks.core.disk", "tasks.core.sizing", "tasks.data.counts"),  # check the disk, and record what the stage took
    *("tasks.core.interpreter", "tasks.hardware.torchvision_import"),  # start and end its process
    *("tasks.core.params", "tasks.core.paths", "tasks.core.sections"),  # settings, whose values are in the keys
    "tasks.data.decoding",  # reads settings, whose values are in the keys
    *("tasks.core.target", "tasks.data.manifest", "tasks.embedding.index", "tasks.images.views"),  # are in the keys
    "tasks.embedding.matrix",  # writes the features
    *("tasks.embedding.spreading", "tasks.core.spread", "tasks.core.same_machine"),  # decide who computes them
    *("tasks.embedding.thread_count", "tasks.embedding.worker"),  # decide how many compute, and check them
    *("tasks.hardware.available_memory", "tasks.hardware.heap"),  # limit the memory
    *("tasks.hardware.machine_cache", "tasks.hardware.precision"),  # device and dtype are in the keys
    *(
        "tasks.embedding.compiled",
        "tasks.embedding.packages",
        "tasks.hardware.compiler",
    ),  # in the keys of compiled features
}
QUICK = {
    **{name: value for name, value in SMALL.items() if name.startswith(("backbone.", "compute.", "evaluate."))},
    "compute.device": "cpu",
    "augment.views": 1,
    "features.views": 1,
    "head.epochs": 2,
    "head.strengths": [0.1],
    "finetune.epochs": 1,
    "scratch.run": False,
    "unlabelled.threshold": 0.0,
    "unlabelled.precision": 0.0,
    "unlabelled.neighbours": 3,
}
TAUGHT = {f"teacher.{name}": value for name, value in {**TINY, "weights": "tiny.pth"}.items()}
CHANGES = {
    Objective.LABELS: {"scratch.run": True},
    Objective.DISTILLATION: TAUGHT,
    Objective.PSEUDO_LABELS: TAUGHT,
    Objective.BATCHNORM: {"finetune.batchnorm": "training"},
}


class Case(NamedTuple):
    """One run of a stage in the folder for a kind of data."""

    data: str
    stage: str
    changes: dict[str, object]

    @property
    def name(self) -> str:
        return "-".join([self.data, self.stage, *map(str, self.changes.values())][:3])


OBJECTIVES = sorted(Objective, key=Objective.DISTILLATION.__eq__)  # last, so that evaluate has a teacher
CASES = [
    *(Case("classes", stage, {}) for stage in ("ingest", "validate")),
    Case("classes", "choose", {"backbone.architecture": "auto", "backbone.weights": "auto"}),
    *(Case("classes", stage, {}) for stage in ("choose", "augment", "features")),
    Case("classes", "head", {"head.kind": "knn", "finetune.epochs": 0}),
    *(Case("classes", "head", {"head.kind": kind}) for kind in ("dense", "prototype", "linear")),
    *(Case("classes", "finetune", {"objective": name.value, **CHANGES.get(name, {})}) for name in OBJECTIVES),
    Case("classes", "evaluate", {"objective": "distillation", "evaluate.attacked": 2, **TAUGHT}),
    *(Case(data, stage, {}) for data in ("labels", "targets") for stage in STAGES),
]
TRACED = """
import json, os, shutil, sys, traceback
import great_expectations, matplotlib.pyplot, pandas, torch, torchvision  # once for all

def run(name, stage):
    shutil.copy(f"{name}.yaml", "params.yaml")
    from tasks.runner.stages import main
    code = main([stage])
    files = [module.__file__ for name, module in sys.modules.items() if name.startswith("tasks.")]
    with open(f"{name}.json", "w") as out:
        json.dump(files, out)
    return code

for data, name, stage in json.loads(sys.argv[1]):
    os.chdir(data)
    if not (child := os.fork()):
        try:
            code = run(name, stage)
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        os._exit(code)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{name} failed")
"""


def prepare(folder: Path, raw: Path, weights: Path) -> None:
    """Writes images, weights and the cases' parameters to the folder for a kind of data."""
    write_json(folder / "data" / "pins.json", {"choice": None, "init": None})
    if raw != folder / "data" / "raw":
        raw.rename(folder / "data" / "raw")
    write_good_and_bad(folder / "data" / "candidates", weights)
    write(folder / "data" / "teacher.weights", torch.load(weights))
    for case in CASES:
        if case.data == folder.name:
            shutil.copy(ROOT / "params.yaml", folder / f"{case.name}.yaml")
            write_values({**QUICK, **case.changes}, folder / f"{case.name}.yaml")


@pytest.fixture(scope="module")
def loaded(tmp_path_factory, tiny_weights) -> dict[str, set[Path]]:
    """Returns the files below tasks/ that each case loads, by case name. Each case runs in its own process."""
    root = tmp_path_factory.mktemp("traced")
    raw = write_shapes(root / "classes" / "shapes", {"train": 4, "val": 2, "test": 2})
    for number in range(9):
        (raw / "unlabelled").mkdir(exist_ok=True)
        drawn(SHAPES[number % 3], 9000 + number).save(raw / "unlabelled" / f"{number}.png")
    prepare(root / "classes", raw, tiny_weights)
    scenes, discs = write_scenes(root / "scenes"), write_discs(root / "discs")
    prepare(
        root / "labels", bring_together(scenes, root / "labels" / "together", TableOptions(separator=";")), tiny_weights
    )
    prepare(
        root / "targets",
        bring_together(discs, root / "targets" / "together", TableOptions(targets=("radius",))),
        tiny_weights,
    )
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    halves = [[case for case in CASES if (case.data == "classes") == whether] for whether in (True, False)]
    children = []
    for half in halves:  # one core each
        cases = [[str(root / case.data), case.name, case.stage] for case in half]
        command = [sys.executable, "-c", TRACED, json.dumps(cases)]
        children.append(subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
    for child in children:
        output = child.communicate(timeout=1200)[0]  # most of it is waiting for cores
        assert not child.returncode, output
    return {
        case.name: {Path(file) for file in json.loads((root / case.data / f"{case.name}.json").read_text())}
        for case in CASES
    }


def without_inits(files: set[Path]) -> set[Path]:
    return {file for file in files if file.name != "__init__.py"}


def files_of(modules: set[str]) -> set[Path]:
    return {ROOT / f"{module.replace('.', '/')}.py" for module in modules}


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_file_that_a_stage_loads_is_in_its_closure(case, loaded):
    files = without_inits(loaded[case.name])
    assert ROOT / "tasks" / f"{case.stage}.py" in files
    assert len(files) > 8
    assert files <= set(closure(f"tasks.{case.stage}", "tasks.__main__"))


def test_every_module_is_in_the_closure_of_a_stage_or_of_what_flows_import():
    files = without_inits(set((ROOT / "tasks").rglob("*.py")))
    staged = set(closure("tasks.__main__", *(f"tasks.{stage}" for stage in STAGES)))
    assert len(staged) > 80
    assert files == staged | set(closure(*FLOWS_ONLY))
    assert not files_of(FLOWS_ONLY) & staged, "what a stage imports is not for flows alone"


def test_all_code_that_a_feature_depends_on_is_in_its_key(loaded):
    assert without_inits(loaded["classes-features"]) - set(closure(*contexts.CODE)) == files_of(NO_FEATURE)


def test_a_teachers_outputs_depend_on_all_code_that_a_feature_depends_on():
    of_backbone = files_of({"tasks.embedding.context", "tasks.embedding.pretrained"})
    assert set(closure(*contexts.CODE)) - of_backbone < set(closure("tasks.objectives.teacher"))
