"""The choice of a backbone in whole runs: made once, kept by later runs, made again on request."""

from __future__ import annotations

import pytest

from flows.config.overrides import apply
from tasks.core.files import read_json

OPTIONS = {"backbone.architecture": "auto", "backbone.weights": "auto"}  # at the given size, the only one


@pytest.mark.slow
def test_a_choice_is_pinned_and_made_again_on_request(prepared, tmp_path):
    project = prepared.copy(tmp_path / "project")
    apply([part for name, value in OPTIONS.items() for part in (f"--{name}", value)], project.root / "params.yaml")
    first = project.retrain("--finetune.epochs", "0", "--scratch.run", "false")
    assert first.returncode in {0, 3, 4}, first.stdout + first.stderr
    choice = read_json(project.root / "data" / "choose" / "choice.json")
    assert len(choice["table"]) == 2
    assert read_json(project.root / "data" / "pins.json")["choice"] == choice
    assert "Choice of the backbone" in (project.root / "data" / "evaluate" / "results.html").read_text()
    second = project.retrain()
    assert second.stdout.count("| unchanged") == 8, second.stdout
    (project.root / "data" / "pins.json").write_text('{"choice": null, "init": null}')
    assert project.retrain().returncode in {0, 3, 4}
    assert read_json(project.root / "data" / "pins.json")["choice"] == choice, "from beside the registry"
    again = project.flows("choose")
    assert again.returncode == 0, again.stdout + again.stderr
    assert f"{choice['architecture']} at {choice['crop']} px" in again.stdout
    assert read_json(project.root / "data" / "pins.json")["choice"] == choice
