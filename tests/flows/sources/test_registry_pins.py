from __future__ import annotations

import pytest

from flows.config import parameters
from flows.sources import registry_pins
from tasks.core.files import read_json
from tasks.core.params import PINS
from tests.project import ROOT


@pytest.mark.parametrize("version", [None, "1.8.1"])
def test_the_package_for_heic_is_pinned_so_that_ingest_runs_again_once_it_is_installed(tmp_path, monkeypatch, version):
    params = parameters.load(ROOT / "params.yaml")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry_pins, "heif_version", lambda: version)
    PINS.parent.mkdir()
    registry_pins.pin(params)
    assert read_json(PINS) == {"choice": None, "init": None, "heif": version}
