"""The search for a recipe: what is trained, what is kept, what calibrates it, and that a killed one ends the same."""

from __future__ import annotations

import json

import pandas as pd
import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file

from tasks.core.errors import RootstockError
from tasks.core.files import read_json
from tasks.core.schema import Curve
from tasks.core.target import TargetSpec
from tasks.data import folds
from tasks.data.manifest import of_split
from tasks.models.weights_file import read
from tasks.objectives.recipes import recipes_of
from tasks.objectives.search_report import CalibratedBy, SearchReport
from tests.errors import raises
from tests.stages.contract import evaluated, through_head, tuned
from tests.stages.objectives import Killed, begun, context_of, curve, killed_at

SEARCH = {"recipe": "search", "interpolation": [0.5, 1.0], "scratch": False}
WHOLE, SMALL, LAST = "whole network", "whole network, small head", "last 1 block"


@pytest.fixture
def halved(monkeypatch):
    """Makes nine validation images enough to halve them."""
    monkeypatch.setattr(folds, "MIN_GROUPS", 9)


def test_three_recipes_are_compared_on_few_images(paths, capsys):
    through_head(paths)
    report, search = tuned(paths, **SEARCH), SearchReport.load(paths.search)
    assert [fit.recipe for fit in search.fits] == [WHOLE, SMALL, LAST]
    assert {fit.epochs for fit in search.fits} == {6}
    assert report.more["image_passes"] == search.passes == 3 * 6 * 18
    best = max(search.fits, key=lambda fit: fit.worth)
    assert search.fits[search.best] == best
    alpha = best.alpha if best.worth > 0 else 0.0
    assert (report.recipe, report.more["alpha"]) == (best.recipe if alpha else "probe", alpha)
    assert report.validation_score == pytest.approx(best.score if alpha else curve(paths)[Curve.VALIDATION_SCORE][0])
    assert curve(paths)[Curve.EPOCH].tolist() == list(range(7)), "only that of the kept fit"
    assert not paths.checkpoints.exists()
    assert "3 recipes are compared in 324 image passes, which takes about 1 min here" in capsys.readouterr().out
    evaluated(paths)
    assert read_json(paths.selective)["validation_images"] == 9
    page = paths.results_page.read_text()
    assert "Search for a recipe" in page
    assert "each with the output of a model that was chosen without it" in page


def test_many_images_are_halved_and_recipes_end_in_rungs(paths, halved):
    through_head(paths)
    tuned(paths, **SEARCH)
    search = SearchReport.load(paths.search)
    first, second = ([fit for fit in search.fits if fit.rung == rung] for rung in range(2))
    assert [(fit.recipe, fit.epochs) for fit in first] == [(WHOLE, 3), (SMALL, 3), (LAST, 3)]
    assert [(fit.recipe, fit.epochs) for fit in second] == [(max(first, key=lambda fit: fit.worth).recipe, 10)]
    assert search.passes == (3 * 3 + 10) * 18 <= 20 * 18
    assert search.fits[search.best] == max(search.fits, key=lambda fit: fit.worth), "of all rungs"
    assert (search.images, search.calibrated_by) == (5, CalibratedBy.OTHER_HALF)
    assert not paths.out_of_fold.exists()
    evaluated(paths)
    assert read_json(paths.selective)["validation_images"] == 4
    page = paths.results_page.read_text()
    assert "the recipe and its interpolation on 5 of them" in page


@pytest.mark.parametrize(("many", "last"), [(False, 9), (True, 4), (True, 14)])
def test_a_killed_search_ends_with_the_same_weights(paths, monkeypatch, many, last, request):
    if many:
        request.getfixturevalue("halved")
    begun(paths, unlabeled=False)
    tuned(paths, **SEARCH)
    undisturbed, rows, report = load_file(paths.tuned), curve(paths), paths.search.read_bytes()
    calibrating = paths.out_of_fold.read_bytes() if not many else b""
    with killed_at(monkeypatch, last):
        tuned(paths, **SEARCH)
    tuned(paths, **SEARCH)
    pd.testing.assert_frame_equal(curve(paths), rows)
    assert paths.search.read_bytes() == report
    assert many or paths.out_of_fold.read_bytes() == calibrating
    for name, tensor in load_file(paths.tuned).items():
        assert torch.equal(tensor, undisturbed[name]), name


def test_finished_fits_are_not_trained_again(paths, monkeypatch, capsys):
    through_head(paths)
    finish = "tasks.objectives.search.SearchReport"
    with monkeypatch.context() as patched:
        patched.setattr(finish, lambda *_fields, **_options: (_ for _ in ()).throw(Killed))
        with pytest.raises(Killed):
            tuned(paths, **SEARCH)
    assert not list(paths.checkpoints.rglob("tuned*.safetensors")), "checkpoints of finished fits are removed"
    capsys.readouterr()
    tuned(paths, **SEARCH)
    assert "epochs fine-tuned" not in capsys.readouterr().out


def test_the_probe_is_kept_as_it_is_where_nothing_gains(paths, capsys):
    """Learning rates that destroy the network; the small head's start has the probe's predictions, not its weights."""
    through_head(paths)
    report = tuned(paths, **SEARCH, rate=0.3, head_rate=0.3)
    assert report.more["alpha"] == 0.0
    assert "kept the probe" in capsys.readouterr().out
    head, final = read(paths.head_weights)[0], read(paths.tuned)[0]
    assert torch.equal(final["head.weight"], head["weight"])
    pretrained = torch.load(paths.pretrained)
    assert torch.equal(final["backbone.conv5.0.weight"], pretrained["conv5.0.weight"])


def test_a_recipe_whose_loss_is_not_finite_is_passed_over(paths, halved, monkeypatch, capsys):
    monkeypatch.setattr("tasks.objectives.recipes.SMALL_HEAD", float("inf"))
    through_head(paths)
    report = tuned(paths, **SEARCH)
    assert report.recipe != SMALL
    assert [fit.recipe for fit in SearchReport.load(paths.search).fits if fit.failed] == [SMALL]
    assert f"{SMALL}: the loss is not finite" in capsys.readouterr().out
    json.loads(paths.search.read_text(), parse_constant=pytest.fail)
    evaluated(paths)
    assert "the loss is not finite" in paths.results_page.read_text()


def test_if_no_loss_is_finite_the_error_names_the_rates(paths):
    through_head(paths)
    for _ in range(2):  # also if it continues
        with raises(RootstockError, "no-recipe") as caught:
            tuned(paths, **SEARCH, rate=1e30)
        assert "the loss is not finite; lower finetune.rate" in str(caught.value)


@pytest.mark.parametrize("changes", [{"interpolation": []}, {"batchnorm": "training"}], ids=str)
def test_without_interpolation_the_end_of_a_fit_is_compared(paths, changes):
    """Not its best epoch, which would be chosen by images that calibrate it."""
    through_head(paths)
    report = tuned(paths, **SEARCH | changes, patience=1)
    assert {fit.alpha for fit in SearchReport.load(paths.search).fits} == {1.0}
    assert report.best_epoch == curve(paths)[Curve.EPOCH].max() == 6
    evaluated(paths)


def test_a_search_by_a_single_validation_image_ends(paths):
    for file in sorted((paths.raw / "val").rglob("*.png"))[1:]:
        file.unlink()
    through_head(paths)
    tuned(paths, **SEARCH)
    evaluated(paths)
    assert read_json(paths.selective)["validation_images"] == 1


@pytest.mark.parametrize(
    "changes",
    [{"balance": "logits", "average": 0.9}, {"mixup": 0.5, "layers": 2, "unfreeze": 1, "smoothing": 0.1}],
    ids=str,
)
def test_other_options_hold_in_a_search(paths, changes):
    through_head(paths)
    assert tuned(paths, **SEARCH, **changes).more["image_passes"] == 3 * 6 * 18
    last = "last 2 layers" if "layers" in changes else LAST
    assert [fit.recipe for fit in SearchReport.load(paths.search).fits] == [WHOLE, SMALL, last]
    evaluated(paths)


@pytest.mark.parametrize(("data", "recipes"), [("scenes", [WHOLE, LAST]), ("discs", [WHOLE, LAST])])
def test_labels_and_targets_are_searched_too(data, recipes, request):
    paths = request.getfixturevalue(data)
    through_head(paths)
    tuned(paths, **SEARCH)
    assert [fit.recipe for fit in SearchReport.load(paths.search).fits] == recipes
    evaluated(paths)
    validation = of_split(pd.read_parquet(paths.manifest), "validation")
    if data == "discs":
        assert not paths.out_of_fold.exists(), "there is nothing to calibrate"
    else:
        shape = (len(validation), TargetSpec.load(paths.task).num_outputs)
        assert read(paths.out_of_fold)[0]["outputs"].shape == shape


def test_frozen_blocks_are_computed_once_for_all_fits(paths, halved, monkeypatch):
    """Only the last block is trained, in two rungs."""
    monkeypatch.setattr("tasks.objectives.search.recipes_of", lambda *arguments: recipes_of(*arguments)[2:] * 2)
    monkeypatch.setattr("tasks.objectives.recipes.REDUCTION", 2)
    through_head(paths)
    report = tuned(paths, **SEARCH)
    assert {fit.recipe for fit in SearchReport.load(paths.search).fits} == {LAST}
    assert report.more["frozen_blocks_computed"] == 3 * 18 + 5, "three views of each, and the half that chooses"
    assert report.more["frozen_blocks_asked"] > 10 * 18


@pytest.mark.parametrize("changes", [{"recipe": "fixed"}, {"recipe": "search", "epochs": 0}])
def test_nothing_is_searched_if_not_asked_for(paths, changes):
    through_head(paths)
    assert tuned(paths, scratch=False, **changes).recipe == "fixed"
    assert not paths.search.exists()
    evaluated(paths)
    assert "Search for a recipe" not in paths.results_page.read_text()


def test_a_later_fixed_recipe_leaves_no_search_behind(paths):
    through_head(paths)
    tuned(paths, **SEARCH)
    tuned(paths, scratch=False)
    assert not paths.search.exists()
    assert not paths.out_of_fold.exists()
    assert json.loads(paths.curves.read_text().splitlines()[0])
    assert context_of(paths).trainer.shared is None, "only a search shares activations"


def test_a_search_is_refused_for_objectives_that_have_no_recipes(paths):
    with pytest.raises(ValidationError, match=r"finetune\.recipe: only the objective labels"):
        tuned(paths, **SEARCH, objective="mcc")
