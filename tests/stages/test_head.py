from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from tasks.core.errors import ParamsError
from tasks.core.files import read_json
from tasks.core.schema import Column
from tasks.models.weights_file import write
from tasks.scorer.answer import Scorer
from tasks.scorer.preprocessing import Preprocessing
from tests.errors import raises
from tests.stages.contract import augmented, embedded, evaluated, headed, ingested, tuned

PREPARE = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")


def test_head_learns_shapes_and_notes_each_strength(paths):
    ingested(paths), augmented(paths), embedded(paths)
    assert headed(paths).validation_score >= 0.5
    assert [row["setting"] for row in read_json(paths.probe)] == [0.1, 0.01, 0.001]
    assert load_file(paths.head_weights)["weight"].shape == (3, 1024)


@pytest.mark.parametrize(
    ("kind", "settings"), [("dense", [0.1, 0.01, 0.001]), ("prototype", [4, 8, 16, 32, 64]), ("knn", [1, 3])]
)
def test_other_heads_learn_are_tuned_and_served(paths, kind, settings):
    ingested(paths), augmented(paths), embedded(paths)
    report = headed(paths, kind=kind)
    assert [row["setting"] for row in read_json(paths.probe)] == settings
    assert report.setting in settings
    if kind == "knn":
        with raises(ParamsError, "finetune.epochs"):
            tuned(paths)
    tuned(paths, epochs=0 if kind == "knn" else 2)
    assert paths.scratch.exists() == (kind != "knn")  # zero steps would not be a baseline
    evaluated(paths)
    predictions = pd.read_parquet(paths.predictions)
    served = Scorer.load(paths.spec, paths.tuned).probabilities(
        [(paths.raw / p).read_bytes() for p in predictions["path"]]
    )
    np.testing.assert_allclose(served, np.stack(predictions[Column.DISTRIBUTION]), atol=1e-5, rtol=1e-4)


def test_the_number_of_neighbors_is_limited_to_the_number_of_rows(paths):
    ingested(paths), augmented(paths), embedded(paths)
    headed(paths, kind="knn", neighbours=[10_000])
    tuned(paths, epochs=0)
    assert set(evaluated(paths).scores) >= {"accuracy"}


def test_an_earlier_head_initializes_the_classes_that_it_has(paths):
    """The earlier head has two of the three classes; with such a large penalty, no weight moves."""
    pretrained = torch.load(paths.pretrained)
    head = {"head.weight": torch.randn(2, 1024), "head.bias": torch.randn(2)}
    description = {"classes": ["disc", "ring"], "preprocessing": asdict(PREPARE)}
    write(paths.pretrained, {**pretrained, **head}, description)
    ingested(paths), augmented(paths), embedded(paths)
    headed(paths, start="earlier", strengths=[1e8])
    learned = load_file(paths.head_weights)
    torch.testing.assert_close(learned["weight"][1:], head["head.weight"], atol=1e-4, rtol=1e-3)
    assert learned["weight"][0].abs().max() < 1e-4


def test_a_dense_head_that_grew_is_tuned_and_served(paths):
    ingested(paths), augmented(paths), embedded(paths), headed(paths, kind="dense", grow=[2, 4])
    tuned(paths, scratch=True, epochs=2)
    evaluated(paths)
    assert Scorer.load(paths.spec, paths.tuned).network.head[0].out_features in {2, 4, 8}


def test_options_that_are_not_defined_for_several_labels_are_refused(scenes):
    ingested(scenes), augmented(scenes), embedded(scenes)
    with raises(ParamsError, "head.kind"):
        headed(scenes, kind="prototype")
    with raises(ParamsError, "balance"):
        headed(scenes, balance="logits")


def test_options_that_are_not_defined_for_targets_are_refused(discs):
    ingested(discs)
    with raises(ParamsError, "augment.flip"):
        augmented(discs, flip=True)
    augmented(discs), embedded(discs)
    with raises(ParamsError, "head.kind"):
        headed(discs, kind="knn")
