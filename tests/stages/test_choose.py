"""Choose: the candidate that suits the images is taken, and a pinned choice is kept."""

from __future__ import annotations

import shutil

import pytest

from tasks.choose import ChooseParams, choose
from tasks.core.errors import RootstockError
from tasks.core.files import read_json, write_json
from tasks.core.params import CHOICE, INIT, PINS
from tasks.models.backbone import build
from tasks.models.weights_file import read
from tasks.selection.candidates import BackboneCandidate, write_candidates
from tasks.selection.choice import Choice
from tests.candidates import write_good_and_bad
from tests.conftest import CPU
from tests.drawn import SIDE
from tests.errors import raises
from tests.stages.contract import BACKBONE, _pinned, augmented, embedded, headed, ingested  # noqa: F401 - a fixture

AUTO = {**BACKBONE, "architecture": "auto", "weights": "auto", "resize": None, "crop": None}


@pytest.fixture
def candidates(paths, tiny_weights):
    return write_good_and_bad(paths.candidates, tiny_weights)


def chosen(paths, **changes):
    return choose(paths, ChooseParams(backbone={**AUTO, **changes}, compute=CPU))


def test_the_candidate_that_suits_the_images_is_taken(paths, candidates):
    ingested(paths)
    report = chosen(paths)
    assert (report.architecture, report.crop, report.options) == ("shufflenet_v2_x0_5", SIDE, 2)
    choice = Choice.load(paths.choice)
    assert (choice.sha256, choice.license, choice.images) == (candidates[1].sha256, "free", 27)
    scores = {row.option: row.score for row in choice.table}
    assert scores[f"shufflenet_v2_x0_5 at {SIDE} px"] > scores[f"resnet8 at {SIDE} px"] + 0.2
    state, description = read(paths.pretrained)
    assert build("auto", state, description, None, None).architecture == "shufflenet_v2_x0_5"


def test_later_stages_use_the_choice(paths, candidates):
    ingested(paths), chosen(paths)
    augmented(paths)
    embedded(paths)
    headed(paths)
    assert read(paths.head_weights)[0]["weight"].shape == (3, 1024)


def test_a_pinned_choice_is_kept_while_it_is_a_candidate(paths, candidates, capsys):
    ingested(paths), chosen(paths)
    before = paths.pretrained.read_bytes()
    pinned = {**read_json(paths.choice), "architecture": "resnet8", "sha256": candidates[0].sha256, "images": 13}
    write_json(PINS, {CHOICE: pinned, INIT: None})
    assert chosen(paths).architecture == "resnet8"
    assert read_json(paths.choice) == pinned
    assert "make choose" in capsys.readouterr().out, "the images have doubled since"
    write_candidates(paths.candidates, candidates[1:])
    assert chosen(paths).architecture == "shufflenet_v2_x0_5"
    assert paths.pretrained.read_bytes() == before


def test_named_weights_are_copied_without_looking(paths, candidates, tiny_weights):
    ingested(paths)
    shutil.copy(tiny_weights, paths.candidates / "named.weights")
    named = BackboneCandidate("shufflenet_v2_x0_5", "named.weights", "digest", "")
    write_candidates(paths.candidates, [named])
    choose(paths, ChooseParams(backbone=BACKBONE, compute=CPU))
    assert paths.pretrained.read_bytes() == tiny_weights.read_bytes()
    choice = Choice.load(paths.choice)
    assert (choice.architecture, choice.crop, choice.table) == ("shufflenet_v2_x0_5", SIDE, ())


def test_a_given_size_is_the_only_one(paths, candidates):
    ingested(paths)
    assert chosen(paths, resize=48, crop=40).crop == 40
    assert {row.option for row in Choice.load(paths.choice).table} == {
        "resnet8 at 40 px",
        "shufflenet_v2_x0_5 at 40 px",
    }


def test_a_candidate_whose_weights_do_not_fit_is_refused(paths, candidates):
    ingested(paths)
    shutil.copy(paths.candidates / "bad.weights", paths.candidates / "good.weights")
    with raises(RootstockError, "backbone.weights"):
        chosen(paths)


def test_weights_of_another_architecture_are_not_used(paths, candidates):
    """As after a change of params.yaml without make data."""
    ingested(paths)
    assert chosen(paths, architecture="resnet8", weights="x.pth", resize=SIDE, crop=SIDE).architecture == "resnet8"
    with raises(RootstockError, "backbone.architecture"):
        chosen(paths, architecture="resnet18", weights="x.pth")
