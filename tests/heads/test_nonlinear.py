from __future__ import annotations

import numpy as np
import pytest
import torch

from tasks.heads.linear import best
from tasks.heads.nonlinear import Dense, fit_dense, widened
from tasks.models.freezing import freeze_all_but_last
from tasks.scorer.architectures import build_backbone
from tasks.scorer.heads import build_head
from tasks.scorer.network import Network
from tests.scorer.architectures import uninitialized


@pytest.fixture
def rings():
    """Returns two classes that no line separates, an inner and an outer ring; features have very different scales."""
    rng = np.random.default_rng(0)
    angle, y = rng.uniform(0, 2 * np.pi, 400), rng.integers(0, 2, 400)
    radius = 1 + 2 * y + rng.normal(0, 0.2, 400)
    x = np.stack([radius * np.cos(angle) * 100, radius * np.sin(angle)], 1)
    return torch.tensor(x, dtype=torch.float32), torch.tensor(y)


def test_a_dense_head_learns_what_a_linear_one_cannot(rings):
    x, y = rings
    rows = (x[:200], y[:200], torch.ones(200)), (x[200:], y[200:])
    dense = Dense(widths=[64], l2_penalties=[0.0, 0.1], lr=0.01, epochs=60, batch=32, seed=0)
    assert best(fit_dense(*rows, 2, dense)).score >= 0.97


@pytest.mark.parametrize("widths", [[16], [2, 4, 32]])
def test_a_dense_head_that_is_fitted_again_is_the_same_bit_by_bit(rings, widths):
    """A head has no checkpoint: a run killed during its fit, or between two widths, fits it from the start."""
    x, y = rings
    rows = (x[:200], y[:200], torch.ones(200)), (x[200:], y[200:])
    dense = Dense(widths=widths, l2_penalties=[0.0, 0.1], lr=0.01, epochs=20, batch=32, seed=0)
    first, again = ([probe.head.state_dict() for probe in fit_dense(*rows, 2, dense)] for _ in range(2))
    for one, other in zip(first, again, strict=True):
        assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_wider_head_begins_as_the_same_function_and_its_copies_learn_apart():
    head, x, y = build_head(8, 3, "dense", hidden=5), torch.randn(40, 8), torch.randint(0, 3, (40,))
    wide = widened(head, 13)
    torch.testing.assert_close(wide(x), head(x), atol=1e-6, rtol=1e-5)
    assert len(wide[0].weight.unique(dim=0)) == 5
    torch.nn.functional.cross_entropy(wide(x), y).backward()
    torch.optim.SGD(wide.parameters(), 0.1).step()
    assert len(wide[0].weight.unique(dim=0)) == 13


def test_a_head_grows_only_while_validation_allows(rings):
    x, y = rings
    rows = (x[:200], y[:200], torch.ones(200)), (x[200:], y[200:])
    settings = {"l2_penalties": [0.0], "lr": 0.01, "epochs": 60, "batch": 32, "seed": 0}
    narrow, grown = (fit_dense(*rows, 2, Dense(widths=w, **settings))[0] for w in ([2], [2, 4, 32]))
    assert grown.loss < narrow.loss
    assert grown.head[0].out_features == 32
    noise = torch.randint(0, 2, y.shape, generator=torch.Generator().manual_seed(3))
    rows = (x[:200], noise[:200], torch.ones(200)), (x[200:], noise[200:])
    stopped = fit_dense(*rows, 2, Dense(widths=[2, 512, 1024], **{**settings, "lr": 0.1}))[0]
    assert stopped.head[0].out_features < 1024


def test_rows_of_a_dense_head_count_by_their_weights(rings):
    """Rows with zero weight have no effect."""
    x, y = rings
    dense = Dense(widths=[16], l2_penalties=[0.0], lr=0.01, epochs=60, batch=64, seed=0)
    weight = torch.cat([torch.ones(200), torch.zeros(200)])
    wrong = torch.cat([y[:200], 1 - y[200:]])
    assert fit_dense((x, wrong, weight), (x, y), 2, dense)[0].score >= 0.9


def test_the_articles_recipe_trains_as_many_parameters_as_keras_counts():
    """VGG16 without its classifier at 224 pixels, Dense 1024, softmax of ten classes, all but four layers frozen."""
    with uninitialized():
        backbone, width = build_backbone("vgg16", "classifier")
        network = Network(backbone, build_head(width, 10, "dense", hidden=1024))
    freeze_all_but_last(network.backbone, 4, "layers")
    counts = {name: parameter.numel() for name, parameter in network.named_parameters() if parameter.requires_grad}
    parts = {
        part: sum(n for name, n in counts.items() if name.startswith(part)) for part in ("backbone", "head.0", "head.2")
    }
    assert parts == {"backbone": 7_079_424, "head.0": 25_691_136, "head.2": 10_250}
    assert sum(counts.values()) == 32_780_810


@pytest.mark.parametrize(
    ("architecture", "width"),
    [("vgg11", 25088), ("mobilenet_v3_small", 576), ("convnext_tiny", 768), ("maxvit_t", 512), ("resnet18", 512)],
)
def test_the_whole_classifier_can_be_cut(architecture, width):
    with uninitialized():
        module, reported = build_backbone(architecture, "classifier")
    assert reported == width
    side = 224
    with torch.inference_mode():
        assert module.eval()(torch.zeros(1, 3, side, side)).shape == (1, width)
