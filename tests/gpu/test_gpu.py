"""The same stages on a CUDA device: they run there, and their results match the CPU's within a tolerance."""

from __future__ import annotations

import pytest
import torch

from tasks.core.files import read_json
from tasks.core.schema import Candidate
from tasks.embedding.compiled import compiled
from tasks.embedding.matrix import read_features
from tasks.hardware.device import choose
from tasks.models.backbone import Backbone, embed, torchvision_preprocessing
from tasks.scorer.architectures import build_backbone
from tests.benchmarks.study import Study
from tests.project import ROOT

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
EMBEDDED = ROOT / "data" / "backbone" / "resnet10-glyphs.safetensors"


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    from tasks.embedded.digits import render

    folder = tmp_path_factory.mktemp("digits") / "raw"
    render(folder)
    return folder


def study(root, raw, device: str, precision: str) -> Study:
    changes = {"compute.device": device, "compute.precision": precision, "finetune.epochs": 10}
    return Study(root / f"{device}-{precision}", raw, EMBEDDED, changes)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_features_agree_with_the_cpus(digits, tmp_path, precision):
    features = []
    for device, kind in (("cpu", "float32"), ("cuda", precision)):
        on = study(tmp_path, digits, device, kind)
        on.run("ingest", "augment", "features")
        features.append(torch.cat([x_ND for x_ND, _ in read_features(on.paths)]))
    assert torch.nn.functional.cosine_similarity(*features).quantile(0.01) >= 0.99


def test_a_compiled_network_has_the_same_outputs(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    device = choose("cuda", "bfloat16")
    backbone = Backbone(build_backbone("resnet18")[0].eval(), 512, torchvision_preprocessing("resnet18")).folded()
    x = device.place(torch.rand(8, 3, 224, 224))
    with device.autocast():
        plain = embed(device.place(backbone.module), x)
        quick = embed(compiled(backbone, device, 8).module, x)
    centred = plain - plain.mean(0)
    assert (quick - plain).norm() <= 0.1 * centred.norm()


def test_fine_tuning_on_the_device_ends_with_a_good_model(digits, tmp_path):
    on = study(tmp_path, digits, "auto", "auto")
    on.run("ingest", "augment", "features", "head", "finetune", "evaluate")
    scored = read_json(on.paths.metrics)
    assert scored[Candidate.TUNED]["accuracy"]["value"] >= 0.95
