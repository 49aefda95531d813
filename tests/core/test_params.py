from __future__ import annotations

from pathlib import Path

import pytest

from tasks.core.errors import EXIT_USAGE, ParamsError
from tasks.core.params import StageParams, read_document
from tasks.core.paths import PathsParams
from tasks.core.sections import BackboneParams
from tasks.finetune import FinetuneParams
from tasks.ingest import IngestParams
from tests.errors import raises
from tests.project import ROOT


class ExampleParams(StageParams):
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
  candidates: {}
  download: false
"""


def load(tmp_path, text):
    file = tmp_path / "params.yaml"
    file.write_text(text)
    return ExampleParams.load(file)


def test_values_are_typed(tmp_path):
    params = load(tmp_path, GOOD)
    assert (params.seed, params.backbone.crop, params.backbone.resize) == (3, 64, None)


@pytest.mark.parametrize(
    ("before", "after", "key", "details"),
    [
        ("crop: 64", "crop: sixty", "backbone.crop", ["line 7", "backbone.crop: ", "valid integer"]),
        ("crop: 64", "crop: 2", "backbone.crop", ["line 7", "greater than or equal to 8", "pixels of the center"]),
        ("resize: null", "resise: null", "backbone.resize", ["line 6", "backbone.resise: ", "Extra inputs"]),
        ("  weights: some.pth\n", "", "backbone.weights", ["line 2", "Field required"]),
        ("seed: 3", "seed: [", "params-syntax", ["params.yaml"]),
        ("some.pth", "\x00", "params-syntax", ["params.yaml"]),
        (GOOD, "- 1\n", "params-not-a-mapping", ["git checkout"]),
    ],
)
def test_an_error_names_line_key_and_remedy(tmp_path, before, after, key, details):
    with raises(ParamsError, key) as caught:
        load(tmp_path, GOOD.replace(before, after))
    assert caught.value.exit_code == EXIT_USAGE
    for detail in details:
        assert detail in str(caught.value)


def test_a_stage_reads_single_parameters_of_a_section():
    document = read_document(ROOT / "params.yaml")
    assert IngestParams.of(document).background == "white"
    document["data"]["background"] = "whit"
    with raises(ParamsError, "data.background") as caught:
        IngestParams.of(document)
    line = document["data"].lc.key("background")[0] + 1
    assert str(caught.value).startswith(f"params.yaml line {line}: data.background: ")
    del document["data"]["background"]
    with raises(ParamsError, "data.background") as caught:
        IngestParams.of(document)
    assert "Field required (color behind transparent pixels" in str(caught.value)


def test_every_fault_is_named_and_the_first_one_is_the_key(tmp_path):
    with raises(ParamsError, "seed") as caught:
        load(tmp_path, GOOD.replace("seed: 3", "seed: three").replace("crop: 64", "crop: 2"))
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == ["seed", "backbone.crop"]


def test_a_missing_file_is_reported_with_the_remedy(tmp_path):
    with raises(ParamsError, "params-missing") as caught:
        ExampleParams.load(tmp_path / "params.yaml")
    assert "git checkout" in str(caught.value)


def test_a_file_in_another_encoding_is_refused(tmp_path):
    (tmp_path / "params.yaml").write_bytes(GOOD.encode("utf-16"))
    with raises(ParamsError, "params-encoding"):
        ExampleParams.load(tmp_path / "params.yaml")


def test_parameters_are_frozen(tmp_path):
    with pytest.raises(ValueError, match="frozen"):
        load(tmp_path, GOOD).seed = 4


@pytest.mark.parametrize(
    ("objective", "changes", "parameter"),
    [("pgd", {"epochs": 4}, "finetune.epochs"), ("fast", {"patience": 3}, "finetune.patience")],
)
def test_a_fit_that_could_end_before_the_adversary_is_grown_is_refused(objective, changes, parameter):
    document = with_growing_adversary(objective, changes)
    with raises(ParamsError, "adversaries.grow") as caught:
        FinetuneParams.of(document, Path("params.yaml"))
    line = document["adversaries"].lc.key("grow")[0] + 1
    assert str(caught.value).startswith(f"params.yaml line {line}: adversaries.grow: ")
    assert f"set {parameter} to more than 4" in str(caught.value)


@pytest.mark.parametrize(("objective", "changes"), [("labels", {"patience": 3}), ("trades", {"epochs": 0})])
def test_where_no_adversary_grows_a_fit_may_end_at_any_epoch(objective, changes):
    params = FinetuneParams.of(with_growing_adversary(objective, changes), Path("params.yaml"))
    assert params.adversaries.grow == 4


def with_growing_adversary(objective, changes):
    document = read_document(ROOT / "params.yaml")
    document["objective"], document["adversaries"]["grow"] = objective, 4
    document["finetune"].update(changes)
    return document


def test_the_committed_params_yaml_is_valid():
    assert IngestParams.load().ingest.test > 0
    assert FinetuneParams.load().finetune.epochs > 0
    paths = PathsParams.load().paths
    assert paths.of("validate") == paths.validate_
    assert paths.manifest.parent == paths.of("ingest")
