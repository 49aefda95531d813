"""Versions whose files are missing or of another program: each use of them says so."""

from __future__ import annotations

import json

import pytest

from flows.registry.store import client
from flows.registry.tags import Tag
from flows.registry.versions import find, scorer_of
from flows.sources import registry_pins
from tasks.core.errors import RootstockError
from tests.errors import raises
from tests.project import ROOT


@pytest.fixture
def version(registry, tmp_path):
    """Returns a function that registers a version with these files, and returns it; None: without a folder."""

    def registered(files):
        folder = tmp_path / "files"
        for name, content in (files or {}).items():
            file = folder / "artifacts" / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
        return client().create_model_version(registry.name, str(folder))

    return registered


WEIGHTS = {"model.safetensors": b"weights"}


@pytest.mark.parametrize(
    "files",
    [
        None,
        WEIGHTS,
        *({**WEIGHTS, "spec.json": spec} for spec in (b"{", b"[1]", b"{}", b"\xff", b'{"format": []}')),
    ],
)
def test_a_version_without_its_files_is_named_wherever_it_is_used(version, params, tmp_path, files):
    broken = version(files)
    reference = f"models:/{broken.name}/{broken.version}"
    used = params(backbone={"weights": reference, "architecture": "auto"}, paths={"state": str(tmp_path / "state")})
    uses = (
        lambda: scorer_of(client().get_model_version(broken.name, broken.version)),
        lambda: registry_pins.registered_architecture(used),
        lambda: registry_pins.registered_backbone(used),
        lambda: registry_pins.registered_teacher(reference, tmp_path),
    )
    for use in uses:
        with pytest.raises(RootstockError) as caught:
            use()
        assert caught.value.key in {"version-unreadable", "not-a-rootstock-model", "weights-unreadable"}


def test_a_version_of_another_model_lacks_what_a_backbone_needs(version, params, tmp_path):
    broken = version({**WEIGHTS, "spec.json": json.dumps({"architecture": "resnet10"}).encode()})
    used = params(backbone={"weights": f"models:/{broken.name}/{broken.version}", "architecture": "auto"})
    with raises(RootstockError, "not-a-rootstock-model") as caught:
        registry_pins.registered_backbone(used)
    assert "lacks preprocessing, classes" in str(caught.value)


@pytest.mark.parametrize("use", ["registered_backbone", "registered_teacher"])
def test_a_version_whose_files_were_changed_is_no_backbone_and_no_teacher(version, params, tmp_path, use):
    spec = json.dumps({"format": 3, "architecture": "resnet10", "preprocessing": {}, "classes": []}).encode()
    code = {f"scorer/{file.name}": file.read_bytes() for file in (ROOT / "tasks" / "scorer").glob("*.py")}
    changed = version({**WEIGHTS, "spec.json": spec, **code})
    client().set_model_version_tag(changed.name, changed.version, Tag.FILES, "0" * 64)
    reference = f"models:/{changed.name}/{changed.version}"
    used = params(backbone={"weights": reference, "architecture": "auto"}, paths={"state": str(tmp_path / "state")})
    arguments = {"registered_backbone": (used,), "registered_teacher": (reference, tmp_path)}
    with raises(RootstockError, "version-changed"):
        getattr(registry_pins, use)(*arguments[use])


@pytest.mark.parametrize("reference", ["9" * 30, "0", "\u00b2", "", "a/b"])
def test_what_is_neither_a_number_nor_an_alias_leads_to_no_version(registry, reference):
    registry.version()
    assert find(registry.name, reference) is None
