"""The stages in turn, as plain functions, on drawn pictures with a tiny backbone."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tasks.augment import AugmentParams, augment
from tasks.core.errors import DataRefusedError, ParamsError, RootstockError
from tasks.core.files import read_json
from tasks.core.schema import FEATURES, Candidate, Column, Curve, Metric
from tasks.data.tables import bring_together
from tasks.embedding import compiled as compiling
from tasks.embedding.compiled import NotCompiledError
from tasks.evaluate import EvaluateParams, evaluate
from tasks.features import FeaturesParams, features
from tasks.finetune import FinetuneParams, finetune
from tasks.hardware import machine_cache as remembered
from tasks.head import HeadParams, head
from tasks.ingest import IngestParams, ingest
from tasks.models.freezing import freeze_all_but_last, within
from tasks.models.weights_file import write
from tasks.scorer.scorer import Preprocessing, Scorer, build_backbone
from tasks.validate import ValidateParams, validate
from tests.conftest import CPU, TINY
from tests.drawn import SHAPES, drawn, write_discs, write_scenes

AUGMENT = {"views": 3, "shift": 0.1, "scale": 0.1, "flip": False, "colour": 0.2, "fill": "edge", "check": True}
AUGMENT |= {"rotation": 0.0, "erase": 0.0, "automatic": "none"}
FINETUNE = {
    "blocks": 1,
    "epochs": 3,
    "batch": 8,
    "rate": 1e-3,
    "head_rate": 1e-3,
    "decay": 0.5,
    "weight_decay": 0.01,
    "warmup": 0.1,
    "patience": 9,
    "batchnorm": "frozen",
    "layers": None,
    "unfreeze": 0,
    "parts": 1,
    "clip": 0.0,
    "average": 0.0,
    "dropout": None,
    "stochastic_depth": None,
    "smoothing": 0.0,
    "mixup": 0.0,
    "cutmix": 0.0,
    "processes": 1,
    "cache": 1.0,
    "compile": False,
}
PREPARE = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")
BACKBONE = {**TINY, "weights": "tiny.pth", "match": "strict", "cut": "layer", "letterbox": False}


@pytest.fixture(autouse=True)
def _pinned(tmp_path, monkeypatch):
    """Pins stand at the root, which is where stages run."""
    (tmp_path / "data").mkdir(exist_ok=True)
    (tmp_path / "data" / "pins.json").write_text('{"init": null}')
    monkeypatch.chdir(tmp_path)


def ingested(paths):
    return ingest(paths, IngestParams(ingest={"validation": 0.2, "test": 0.2}))


def validated(paths, **changes):
    return validate(paths, ValidateParams(validate={"min_side": 8, "max_unreadable": 0.0, **changes}))


def augmented(paths, seed=0, **changes):
    return augment(paths, AugmentParams(seed=seed, backbone=BACKBONE, augment={**AUGMENT, **changes}))


def embedded(paths, views=2, compiled_from=0, **changes):
    section = {"views": views, "store": 1.0, "compile": compiled_from}
    return features(paths, FeaturesParams(backbone=BACKBONE, compute={**CPU, **changes}, features=section))


HEAD = {"kind": "linear", "strengths": [0.001, 0.01, 0.1], "hidden": 8, "rate": 0.01, "epochs": 20, "batch": 8}
HEAD |= {"neighbours": [1, 3], "start": "zero", "grow": []}


def headed(paths, balance="none", **changes):
    return head(paths, HeadParams(seed=0, balance=balance, head={**HEAD, **changes}))


NOBODY = {"architecture": None, "weights": None, "resize": None, "crop": None}
METHODS = {
    "distillation": {"temperature": 4.0, "labels": 0.1, "features": 0.0, "margin": 0.005, "agreement": 0.98},
    "unlabelled": {
        "threshold": 0.6,
        "adaptive": False,
        "align": False,
        "neighbours": 0,
        "rounds": 1,
        "quota": 0,
        "precision": 0.5,
        "ratio": 1.0,
        "weight": 1.0,
    }
    | {"strong": "rand", "stronger": 1.5},
    "domain": {"weights": [1.0], "chosen_by": "information", "oracle": False},
    "adversaries": {"norm": "linf", "radius": 0.03, "steps": 2, "grow": 0, "beta": 6.0, "clean": 1.0},
}


def tuned(paths, scratch=True, balance="none", objective="labels", teacher=NOBODY, methods=METHODS, **changes):
    params = {"seed": 0, "balance": balance, "backbone": BACKBONE, "compute": CPU, "finetune": {**FINETUNE, **changes}}
    params |= {"objective": objective, "teacher": teacher, "scratch": {"run": scratch, "rate": 1e-3}, **methods}
    return finetune(paths, FinetuneParams(**params))


CORRUPTIONS = {"shift": [0.1], "scale": [0.8], "flip": [1], "rotation": [9], "noise": [0.1], "blur": [0.02]}
CORRUPTIONS |= {"jpeg": [50, 10]}
EVALUATE = {"bins": 10, "resamples": 100, "wrong": 5, "risk": 0.1, "slices": [], "corrupted": 6, "attacked": 0}


def evaluated(paths, objective="labels", teacher=NOBODY, **changes):
    section = {**EVALUATE, "corruptions": CORRUPTIONS, **changes}
    params = {"seed": 0, "objective": objective, "backbone": BACKBONE, "teacher": teacher, "compute": CPU}
    return evaluate(paths, EvaluateParams(**params, adversaries=METHODS["adversaries"], evaluate=section))


def through_head(paths):
    ingested(paths), augmented(paths), embedded(paths), headed(paths)


def test_ingest_writes_a_row_an_image(paths):
    report = ingested(paths)
    manifest = pd.read_parquet(paths.manifest)
    assert report.images == {"train": 18, "validation": 9, "test": 12, "unlabelled": 0}
    assert (report.classes, report.quarantined, len(manifest)) == (3, 0, 39)
    assert set(manifest.columns) >= {
        Column.PATH,
        Column.SHA256,
        Column.PIXEL_HASH,
        Column.PERCEPTUAL_HASH,
        Column.GROUP,
        Column.QUARANTINE,
    }
    assert manifest[Column.WIDTH].eq(32).all()


def test_ingest_keeps_a_broken_file_in_quarantine_and_counts_others(paths):
    (paths.raw / "train" / "bar" / "0.png").write_bytes(b"junk")
    (paths.raw / "train" / "bar" / "notes.txt").write_text("about")
    report = ingested(paths)
    broken = pd.read_parquet(paths.manifest).query("quarantine.notna()")
    assert (report.quarantined, report.ignored) == (1, 1)
    assert broken[Column.PATH].tolist() == ["train/bar/0.png"]


def test_ingest_refuses_an_empty_folder(paths):
    shutil.rmtree(paths.raw)
    paths.raw.mkdir()
    with pytest.raises(DataRefusedError, match="no images"):
        ingested(paths)
    assert not paths.manifest.exists()


def test_ingest_refuses_a_single_class(paths):
    for split in ("train", "val", "test"):
        for shape in ("disc", "ring"):
            shutil.rmtree(paths.raw / split / shape)
    with pytest.raises(DataRefusedError, match="one class only, bar"):
        ingested(paths)


def test_validate_passes_good_data_and_reports(paths):
    ingested(paths)
    assert validated(paths).warnings == 0
    assert "holds" in paths.validation_page.read_text()
    assert all(finding["success"] for finding in read_json(paths.validation))


def test_validate_refuses_naming_rows_and_leaves_its_report(paths):
    (paths.raw / "train" / "bar" / "0.png").write_bytes(b"junk")
    ingested(paths)
    with pytest.raises(DataRefusedError, match=r"train/bar/0\.png: not an image"):
        validated(paths)
    assert "train/bar/0.png" in paths.validation_page.read_text()
    assert validated(paths, max_unreadable=0.1).warnings == 0


def test_validate_lets_a_warning_pass_and_says_it(paths, capsys):
    shutil.rmtree(paths.raw / "val" / "ring")
    ingested(paths)
    assert validated(paths).warnings == 1
    assert "warning:   not so: every class has validation images" in capsys.readouterr().out


def test_augment_plans_views_and_draws_a_preview(paths):
    ingested(paths)
    assert augmented(paths).views == 54
    plan = pd.read_parquet(paths.plan)
    assert plan[Column.PATH].str.startswith("train/").all()
    assert read_json(paths.policy)["fill"] == "edge"
    assert paths.preview.read_bytes().startswith(b"\x89PNG")
    augmented(paths, seed=1)
    assert not plan.equals(pd.read_parquet(paths.plan))


def test_features_embeds_only_what_is_new(paths):
    ingested(paths), augmented(paths)
    first = embedded(paths, views=1)
    assert (first.rows, first.embedded, first.width) == (18 * 2 + 9 + 12, 57, 1024)
    before = paths.matrix.read_bytes()
    assert embedded(paths, views=1).embedded == 0
    assert paths.matrix.read_bytes() == before
    assert embedded(paths, views=2).embedded == 18
    drawn("disc", 999).save(paths.raw / "test" / "disc" / "new.png")
    ingested(paths)
    assert embedded(paths, views=2).embedded == 1


@pytest.mark.slow  # a C++ compiler works for half a minute
def test_features_of_a_compiled_network_are_the_same_and_kept_apart(paths, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(remembered, "user_cache_path", lambda _name: tmp_path / "cache")
    monkeypatch.setattr(compiling, "measure", lambda *_: {"plain": 1.0, "compiled": 0.1, "start": 1.0})
    ingested(paths), augmented(paths)
    told = embedded(paths, views=1, compiled_from=57)
    assert (told.compiled, told.embedded) == (True, 57)
    assert "is compiled" in capsys.readouterr().out
    quick = load_file(paths.matrix)[FEATURES]
    told = embedded(paths, views=1, compiled_from=57)
    assert (told.compiled, told.embedded) == (True, 0)
    assert "is compiled" not in capsys.readouterr().out
    told = embedded(paths, views=1)
    assert (told.compiled, told.embedded) == (False, 57)
    torch.testing.assert_close(load_file(paths.matrix)[FEATURES], quick, atol=1e-4, rtol=1e-4)
    told = embedded(paths, views=2, compiled_from=19)
    assert (told.compiled, told.embedded) == (False, 18)


def test_what_cannot_be_compiled_is_embedded_all_the_same(paths, monkeypatch, capsys):
    def fails(*_what):
        raise NotCompiledError("no compiler")

    monkeypatch.setattr(compiling, "pays", lambda *_: True)
    monkeypatch.setattr(compiling, "compiled", fails)
    ingested(paths), augmented(paths)
    told = embedded(paths, views=1, compiled_from=57)
    assert (told.compiled, told.embedded) == (False, 57)
    assert "no compiler; going on without" in capsys.readouterr().out


def test_features_are_in_the_order_of_the_index(paths):
    ingested(paths), augmented(paths), embedded(paths)
    index, matrix = pd.read_parquet(paths.index), load_file(paths.matrix)[FEATURES]
    manifest = pd.read_parquet(paths.manifest)
    assert list(index.query("view == 0")[Column.PATH]) == list(manifest[Column.PATH])
    assert matrix.shape == (len(index), 1024)
    views = index[index[Column.PATH] == "train/bar/0.png"]
    assert list(views[Column.VIEW]) == [0, 1, 2]
    assert not torch.equal(matrix[views.index[0]], matrix[views.index[1]])


def test_features_asks_for_no_more_views_than_are_planned(paths):
    ingested(paths), augmented(paths)
    with pytest.raises(ParamsError, match=r"raise augment\.views"):
        embedded(paths, views=4)


def test_another_precision_is_another_context(paths):
    ingested(paths), augmented(paths), embedded(paths)
    assert embedded(paths, precision="bfloat16").embedded > 0


def test_head_learns_shapes_and_notes_each_strength(paths):
    ingested(paths), augmented(paths), embedded(paths)
    assert headed(paths).validation_score >= 0.5
    assert [row["setting"] for row in read_json(paths.probe)] == [0.1, 0.01, 0.001]
    assert load_file(paths.head_weights)["weight"].shape == (3, 1024)


def test_finetune_starts_from_the_probe_and_writes_both_networks(paths):
    through_head(paths)
    report = tuned(paths)
    rows = [json.loads(line) for line in paths.curves.read_text().splitlines()]
    by_candidate = {
        name: [row for row in rows if row[Curve.CANDIDATE] == name] for name in (Candidate.TUNED, Candidate.SCRATCH)
    }
    assert report.steps == by_candidate[Candidate.SCRATCH][-1][Curve.STEP] == 9
    start = by_candidate[Candidate.TUNED][0]
    assert start[Curve.VALIDATION_SCORE] == pytest.approx(
        min(read_json(paths.probe), key=lambda row: row["loss"])["score"], abs=1e-6
    )
    frozen, learned = load_file(paths.tuned), torch.load(paths.pretrained)
    assert torch.equal(frozen["backbone.conv1.0.weight"], learned["conv1.0.weight"])
    assert report.best_epoch > 0
    assert not torch.equal(frozen["backbone.conv5.0.weight"], learned["conv5.0.weight"])
    assert not paths.checkpoints.exists()


@pytest.mark.parametrize(
    ("kind", "settings"), [("dense", [0.1, 0.01, 0.001]), ("prototype", [4, 8, 16, 32, 64]), ("knn", [1, 3])]
)
def test_other_heads_learn_are_tuned_and_served(paths, kind, settings):
    ingested(paths), augmented(paths), embedded(paths)
    report = headed(paths, kind=kind)
    assert [row["setting"] for row in read_json(paths.probe)] == settings
    assert report.setting in settings
    if kind == "knn":
        with pytest.raises(ParamsError, match=r"set finetune\.epochs to 0"):
            tuned(paths)
    tuned(paths, epochs=0 if kind == "knn" else 2)
    assert paths.scratch.exists() == (kind != "knn")  # as many steps as none are no baseline
    evaluated(paths)
    predictions = pd.read_parquet(paths.predictions)
    served = Scorer.load(paths.spec, paths.tuned).probabilities(
        [(paths.raw / p).read_bytes() for p in predictions["path"]]
    )
    np.testing.assert_allclose(served, np.stack(predictions[Column.DISTRIBUTION]), atol=1e-5)


def test_more_neighbours_than_there_are_rows_are_all_of_them(paths):
    ingested(paths), augmented(paths), embedded(paths)
    headed(paths, kind="knn", neighbours=[10_000])
    tuned(paths, epochs=0)
    assert set(evaluated(paths).scores) >= {"accuracy"}


def curve(paths):
    rows = [json.loads(line) for line in paths.curves.read_text().splitlines()]
    return [row[Curve.VALIDATION_LOSS] for row in rows], [row[Curve.TRAIN_LOSS] for row in rows[1:]]


@pytest.mark.parametrize("changes", [{}, {"blocks": 3, "unfreeze": 1, "batchnorm": "training"}, {"layers": 4}])
def test_activations_of_the_frozen_blocks_change_no_loss(paths, capsys, changes):
    through_head(paths)
    tuned(paths, scratch=False, cache=0.0, epochs=5, **changes)
    plain = curve(paths)
    assert "frozen blocks" not in capsys.readouterr().out
    report = tuned(paths, scratch=False, cache=1.0, epochs=5, **changes)
    # Three views of 18 training pictures and 9 validation ones, instead of five epochs and a start.
    asked, computed = 5 * 18 + 6 * 9, 3 * 18 + 9
    assert f"frozen blocks computed for {computed} pictures instead of {asked}" in capsys.readouterr().out
    assert report.more == {"frozen_blocks_asked": asked, "frozen_blocks_computed": computed}
    for found, expected in zip(curve(paths), plain, strict=True):
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_each_way_to_learn_is_another_one(paths):
    """What is asked for reaches the fit; 'bar' has fewer images than the others."""
    for file in sorted((paths.raw / "train" / "bar").glob("*.png"))[:3]:
        file.unlink()
    through_head(paths)
    asked = [{}, {"smoothing": 0.2}, {"mixup": 1.0}, {"cutmix": 1.0}, {"clip": 1e-3}, {"average": 0.9}, {"unfreeze": 1}]
    asked += [{"balance": balance} for balance in ("weights", "sampling", "logits")]
    found = []
    for change in asked:
        tuned(paths, scratch=False, blocks=2, **change)
        found.append(np.concatenate(curve(paths)))
    for change, losses in zip(asked[1:], found[1:], strict=True):
        assert np.abs(found[0] - losses).max() > 1e-4, change


@pytest.mark.parametrize("cut", [{"layers": 1}, {"layers": 4}, {"blocks": 2}], ids=str)
def test_what_is_frozen_stays_so_bit_by_bit_under_every_schedule(paths, cut):
    ingested(paths), augmented(paths), embedded(paths), headed(paths, strengths=[1e9])
    how = {"average": 0.5, "clip": 1.0, "parts": 2, "mixup": 0.2, "cutmix": 1.0, "unfreeze": 1}
    how |= {"batchnorm": "training", "weight_decay": 0.5, "epochs": 6}
    report = tuned(paths, scratch=False, **how, **cut)
    assert report.best_epoch > 0
    came, now = torch.load(paths.pretrained), load_file(paths.tuned)
    ((unit, count),) = cut.items()
    learning = [
        name for part in freeze_all_but_last(build_backbone(TINY["architecture"])[0], count, unit) for name in part
    ]
    kept = [name for name in came if f"backbone.{name}" in now and not within(name, learning)]
    assert 0 < len(kept) < len(came)
    assert all(torch.equal(came[name], now[f"backbone.{name}"]) for name in kept if "num_batches" not in name)
    assert not all(torch.equal(came[name], now[f"backbone.{name}"]) for name in came if within(name, learning))


def test_an_earlier_head_is_gone_on_from_class_by_class(paths, tmp_path):
    """Two of the three classes were known; a penalty as large as this one lets nothing move."""
    came = torch.load(paths.pretrained)
    paths = paths.model_copy(update={"pretrained": tmp_path / "earlier.safetensors"})  # the other is for all tests
    head = {"head.weight": torch.randn(2, 1024), "head.bias": torch.randn(2)}
    known = {"classes": ["disc", "ring"], "preprocessing": asdict(PREPARE)}
    write(paths.pretrained, {**came, **head}, known)
    ingested(paths), augmented(paths), embedded(paths)
    headed(paths, start="earlier", strengths=[1e8])
    learned = load_file(paths.head_weights)
    torch.testing.assert_close(learned["weight"][1:], head["head.weight"], atol=1e-4, rtol=1e-3)
    assert learned["weight"][0].abs().max() < 1e-4


def test_a_fit_in_parts_is_asked_for_and_ends_the_same(paths):
    through_head(paths)
    found = []
    for parts in (1, 2):
        tuned(paths, scratch=False, parts=parts)
        found.append(load_file(paths.tuned))
    for name, tensor in found[0].items():
        torch.testing.assert_close(tensor, found[1][name], atol=1e-5, rtol=1e-4)
    assert any(not torch.equal(tensor, found[1][name]) for name, tensor in found[0].items())


def test_what_only_training_does_is_not_in_the_model(paths):
    """Mixing, smoothing, dropout, averages and balance change the weights alone: it is evaluated as ever."""
    ingested(paths), augmented(paths), embedded(paths), headed(paths, balance="logits")
    extras = {"mixup": 0.2, "cutmix": 1.0, "smoothing": 0.1, "average": 0.9, "clip": 1.0, "parts": 2, "unfreeze": 1}
    for balance in ("weights", "sampling", "logits"):
        tuned(paths, scratch=balance == "logits", balance=balance, blocks=2, **extras)
        evaluated(paths)
    with pytest.raises(ParamsError, match=r"finetune\.dropout: this architecture has none"):
        tuned(paths, dropout=0.5)
    with pytest.raises(ParamsError, match=r"head\.start: backbone\.weights brings no linear head"):
        headed(paths, start="earlier")
    with pytest.raises(ParamsError, match=r"head\.grow: \[16, 8\] must rise"):
        headed(paths, kind="dense", grow=[16, 8])
    with pytest.raises(ParamsError, match=r"head\.grow: a linear head has no units"):
        headed(paths, grow=[4])


def test_any_policy_of_augmentation_goes_through(paths):
    """Views that are turned, erased and changed by a policy are features like others, and tell their plan."""
    ingested(paths)
    for automatic in ("rand", "trivial", "augmix"):
        augmented(paths, automatic=automatic, rotation=20.0, erase=0.5)
        assert embedded(paths).embedded in {36, 75}  # views; the clean pictures were there already
    plan = pd.read_parquet(paths.plan)
    assert plan["rotation"].abs().max() > 5
    assert 0 < plan["erase_side"].astype(bool).mean() < 1
    headed(paths), tuned(paths, scratch=False)


def test_a_dense_head_that_grew_is_tuned_and_served(paths):
    ingested(paths), augmented(paths), embedded(paths), headed(paths, kind="dense", grow=[2, 4])
    tuned(paths, scratch=True, epochs=2)
    evaluated(paths)
    assert Scorer.load(paths.spec, paths.tuned).network.head[0].out_features in {2, 4, 8}


def test_finetune_can_leave_the_baseline_out(paths):
    through_head(paths)
    assert tuned(paths, scratch=False).seconds_scratch == 0
    assert not paths.scratch.exists()
    evaluated(paths)
    assert set(read_json(paths.metrics)) == {Candidate.PROBE, Candidate.TUNED}


def test_finetune_stops_at_a_loss_that_is_not_finite(paths):
    through_head(paths)
    with pytest.raises(RootstockError, match="lower the learning rates"):
        tuned(paths, rate=1e20, head_rate=1e20, warmup=0)


def test_evaluate_scores_all_three_with_the_code_that_serves(paths):
    through_head(paths)
    tuned(paths)
    report = evaluated(paths)
    table = read_json(paths.metrics)
    assert list(table) == [Candidate.SCRATCH, Candidate.PROBE, Candidate.TUNED]
    of_others = {Metric.MAP, Metric.R2, Metric.MAE, Metric.RMSE, Metric.AGREEMENT}
    assert set(table[Candidate.TUNED]) == set(Metric) - of_others
    predictions = pd.read_parquet(paths.predictions)
    assert len(predictions) == report.images == 12
    scorer = Scorer.load(paths.spec, paths.tuned)
    assert scorer.classes == SHAPES
    served = scorer.probabilities([(paths.raw / path).read_bytes() for path in predictions[Column.PATH]])
    stored = torch.tensor(np.stack(predictions[Column.DISTRIBUTION]))
    torch.testing.assert_close(served, stored.float(), atol=1e-5, rtol=1e-4)
    trust = (paths.reliability, paths.roc_pr, paths.risk_coverage, paths.robustness_picture)
    for file in (paths.comparison, paths.confusion, paths.curves_picture, paths.wrong, *trust):
        assert file.read_bytes().startswith(b"\x89PNG")
    assert "data:image/png" in paths.results_page.read_text()
    assert "http" not in paths.results_page.read_text()


def test_evaluate_tells_how_far_to_trust(paths):
    through_head(paths)
    tuned(paths, scratch=False)
    report = evaluated(paths, slices=["width", "label"])
    robust = pd.read_csv(paths.robustness)
    assert list(robust["corruption"]) == ["none", "shift", "scale", "flip", "rotation", "noise", "blur", "jpeg", "jpeg"]
    assert robust["images"].eq(6).all()
    slices = pd.read_csv(paths.slices).set_index("slice")
    assert list(slices.index) == ["width=32", *(f"label={shape}" for shape in SHAPES)]
    assert slices.loc["width=32", "accuracy"] == pytest.approx(report.scores["accuracy"], abs=1e-4)
    predictions = pd.read_parquet(paths.predictions)
    given = predictions[Column.PROBABILITY] >= read_json(paths.spec)["threshold"]
    assert given.mean() == pytest.approx(report.scores["coverage"])
    with pytest.raises(ParamsError, match="no column camera; it has"):
        evaluated(paths, slices=["camera"])


@pytest.fixture
def scenes(paths, tmp_path):
    """Pictures with one label, two or none."""
    raw = bring_together(write_scenes(tmp_path / "scenes"), tmp_path / "together", separator=";")
    return paths.model_copy(update={"raw": raw})


@pytest.mark.parametrize("kind", ["linear", "dense"])
def test_several_labels_go_through_every_stage(scenes, kind):
    ingested(scenes), augmented(scenes, flip=True)
    assert set(pd.read_parquet(scenes.manifest)[Column.LABEL]) == {"", "bar", "disc", "bar|disc"}
    assert validated(scenes).warnings == 0
    embedded(scenes)
    headed(scenes, kind=kind, epochs=60, hidden=64)
    tuned(scenes, epochs=3, mixup=0.2)
    report = evaluated(scenes, slices=["lot"])
    assert set(report.scores) == {"accuracy", "macro_f1", "map", "nll"}
    assert report.scores["map"] >= 0.6
    predictions, spec = pd.read_parquet(scenes.predictions), read_json(scenes.spec)
    assert spec["classes"] == ["bar", "disc"]
    scorer = Scorer.load(scenes.spec, scenes.tuned)
    pictures = [(scenes.raw / path).read_bytes() for path in predictions[Column.PATH]]
    rows = [scorer.row(logits) for logits in scorer.logits(pictures)]
    assert [row["label"] for row in rows] == list(predictions[Column.PREDICTED])
    right = np.mean([row["label"] == label for row, label in zip(rows, predictions[Column.LABEL], strict=True)])
    assert right == pytest.approx(report.scores["accuracy"])
    served = [list(row["distribution"].values()) for row in rows]
    np.testing.assert_allclose(served, np.stack(predictions[Column.DISTRIBUTION]), atol=1e-5)
    assert list(pd.read_csv(scenes.per_class)["label"]) == ["bar", "disc"]
    assert "data:image/png" in scenes.results_page.read_text()


def test_what_has_no_meaning_for_several_labels_is_told(scenes):
    ingested(scenes), augmented(scenes), embedded(scenes)
    with pytest.raises(ParamsError, match="a prototype head has no meaning for several labels"):
        headed(scenes, kind="prototype")
    with pytest.raises(ParamsError, match="balance: it has no meaning for several labels"):
        headed(scenes, balance="logits")


def test_a_label_that_no_training_image_has_is_refused(scenes):
    manifest = scenes.raw / "rootstock.parquet"
    table = pd.read_parquet(manifest)
    table.loc[table["split"] == "train", "label:disc"] = 0.0
    table.to_parquet(manifest)
    ingested(scenes)
    with pytest.raises(DataRefusedError, match="disc: 0 train"):
        validated(scenes)


@pytest.fixture
def discs(paths, tmp_path):
    """Two targets, in place of classes."""
    table = write_discs(tmp_path / "discs")
    raw = bring_together(table, tmp_path / "together", ["radius", "x"])
    return paths.model_copy(update={"raw": raw})


@pytest.mark.parametrize("kind", ["linear", "dense"])
def test_targets_go_through_every_stage(discs, kind):
    ingested(discs), augmented(discs)
    assert validated(discs).warnings == 0
    embedded(discs)
    headed(discs, kind=kind, strengths=[0.01, 1.0], epochs=60, hidden=64)
    tuned(discs, epochs=2)
    report = evaluated(discs, slices=["lot"])
    table = read_json(discs.metrics)
    assert list(table) == [Candidate.MEAN, Candidate.SCRATCH, Candidate.PROBE, Candidate.TUNED]
    assert set(report.scores) == {"r2", "mae", "rmse"}
    assert table[Candidate.PROBE]["mae"]["value"] < table[Candidate.MEAN]["mae"]["value"]
    assert abs(table[Candidate.MEAN]["r2"]["value"]) < 0.3
    rows = pd.read_parquet(discs.predictions)
    scorer = Scorer.load(discs.spec, discs.tuned)
    assert scorer.targets == ("radius", "x")
    served = [scorer.row(row) for row in scorer.logits([(discs.raw / path).read_bytes() for path in rows["path"]])]
    np.testing.assert_allclose([row["radius"] for row in served], rows["predicted:radius"], atol=1e-3)
    assert list(pd.read_csv(discs.slices)["slice"]) == ["lot=lot 0", "lot=lot 1", "lot=lot 2"]
    assert {"flip", "rotation"}.isdisjoint(pd.read_csv(discs.robustness)["corruption"])
    assert discs.residuals.read_bytes().startswith(b"\x89PNG")


def test_what_has_no_meaning_for_targets_is_told(discs):
    ingested(discs)
    with pytest.raises(ParamsError, match=r"augment\.flip: a view that is turned or mirrored may have another target"):
        augmented(discs, flip=True)
    augmented(discs), embedded(discs)
    with pytest.raises(ParamsError, match="a knn head has no meaning for targets"):
        headed(discs, kind="knn")


def test_evaluate_need_not_try_corruptions(paths):
    through_head(paths)
    tuned(paths, scratch=False)
    evaluated(paths, corrupted=0)
    assert pd.read_csv(paths.robustness).empty


def test_the_validation_split_alone_is_chosen_on_and_test_alone_is_scored(paths):
    """A test picture that is taken away changes nothing before evaluation."""
    through_head(paths)
    tuned(paths)
    before = [file.read_bytes() for file in (paths.head_weights, paths.tuned, paths.scratch)]
    (paths.raw / "test" / "bar" / "0.png").unlink()
    through_head(paths)
    tuned(paths)
    assert before == [file.read_bytes() for file in (paths.head_weights, paths.tuned, paths.scratch)]
