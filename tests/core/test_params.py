from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path

import pytest

from tasks.core.errors import EXIT_USAGE, ParamsError
from tasks.core.params import StageParams, read_document
from tasks.core.paths import PathsParams
from tasks.core.sections import BackboneParams
from tasks.finetune import FinetuneParams
from tasks.ingest import IngestParams
from tests.project import ROOT


class Wanted(StageParams):
    seed: int
    backbone: BackboneParams


GOOD = """\
seed: 3   # a comment
backbone:
  architecture: resnet10
  weights: some.pth
  cut: layer
  resize: null
  crop: 64
  letterbox: false
  match: strict
"""


def load(tmp_path, text):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    return Wanted.load(file)


def test_values_are_typed(tmp_path):
    params = load(tmp_path, GOOD)
    assert (params.seed, params.backbone.crop, params.backbone.resize) == (3, 64, None)


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("crop: 64", "crop: sixty", ["line 7", "backbone.crop", "valid integer"]),
        ("crop: 64", "crop: 2", ["line 7", "greater than or equal to 8", "pixels of the centre square"]),
        ("resize: null", "resise: null", ["line 6", "backbone.resise", "Extra inputs"]),
        ("  weights: some.pth\n", "", ["backbone.weights", "Field required"]),
        ("seed: 3", "seed: [", ["not valid YAML"]),
        (GOOD, "- 1\n", ["must be a mapping"]),
    ],
)
def test_an_error_names_line_key_and_remedy(tmp_path, before, after, told):
    with pytest.raises(ParamsError) as error:
        load(tmp_path, GOOD.replace(before, after))
    assert error.value.exit_code == EXIT_USAGE
    for part in told:
        assert part in str(error.value)


def test_a_missing_file_says_what_to_do(tmp_path):
    with pytest.raises(ParamsError, match="git checkout"):
        Wanted.load(tmp_path / "params.yaml")


def test_parameters_are_frozen(tmp_path):
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path, GOOD).seed = 4


@pytest.mark.parametrize(
    ("objective", "changes", "told"),
    [
        (
            "pgd",
            {"epochs": 4},
            r"^params\.yaml line \d+: adversaries\.grow: the radius grows for 4 epochs, but finetune\.epochs is 4",
        ),
        ("fast", {"patience": 3}, r"set finetune\.patience to more than 4"),
        ("labels", {"patience": 3}, None),
        ("trades", {"epochs": 0}, None),
    ],
)
def test_a_fit_that_could_end_before_the_adversary_is_grown_is_refused(objective, changes, told):
    document = read_document(ROOT / "params.yaml")
    document["objective"], document["adversaries"]["grow"] = objective, 4
    document["finetune"].update(changes)
    with pytest.raises(ParamsError, match=told) if told else nullcontext():
        FinetuneParams.of(document, Path("params.yaml"))


def test_the_projects_own_file_is_valid():
    assert IngestParams.load().ingest.test > 0
    assert FinetuneParams.load().finetune.epochs > 0
    paths = PathsParams.load().paths
    assert paths.of("validate") == paths.validate_
    assert paths.manifest.parent == paths.of("ingest")
