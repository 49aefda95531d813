"""Two processes on the CPU (gloo) give the same result as one."""

from __future__ import annotations

import json
import shutil

import pytest
import torch

from tasks.core.schema import Candidate, Curve
from tasks.models.weights_file import read
from tasks.objectives.search_report import SearchReport
from tasks.scorer.network import build_network
from tasks.training.loop import score
from tests.conftest import TINY
from tests.errors import raises
from tests.project import run_python
from tests.stages.contract import _pinned, through_head, tuned  # noqa: F401 - a fixture
from tests.stages.objectives import context_of

CHANGES = {"epochs": 3, "average": 0.9, "clip": 1.0, "unfreeze": 1, "blocks": 2}


def test_two_processes_end_with_the_weights_of_one(paths, monkeypatch):
    """18 images in batches of 6, three per process, including weights, an average, clipping and unfreezing."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))  # as in this process: sums round alike
    through_head(paths)
    results = []
    for processes in (1, 2):
        shutil.rmtree(paths.finetune, ignore_errors=True)
        report = tuned(paths, scratch=False, processes=processes, balance="weights", **CHANGES)
        rows = [json.loads(line) for line in paths.curves.read_text().splitlines()]
        assert [row[Curve.EPOCH] for row in rows] == [0, 1, 2, 3]
        results.append((read(paths.tuned)[0], [row[Curve.VALIDATION_LOSS] for row in rows], report.steps))
    (one, losses, steps), (two, other_losses, other_steps) = results
    assert steps == other_steps == 9
    assert losses == pytest.approx(other_losses, abs=1e-5)
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, two[name], atol=1e-5, rtol=1e-4)


def test_two_processes_search_as_one(paths, monkeypatch):
    """Each has every second row of a validation batch; the outputs for calibration are in the order of the manifest."""
    monkeypatch.setenv("OMP_NUM_THREADS", str(torch.get_num_threads()))
    through_head(paths)
    results = []
    for processes in (1, 2):
        report = tuned(paths, scratch=False, processes=processes, recipe="search", interpolation=[1.0])
        worths = [fit.worth for fit in SearchReport.load(paths.search).fits]
        results.append((report.recipe, worths, read(paths.out_of_fold)[0]["outputs"], read(paths.tuned)[0]))
    (recipe, worths, calibrating, weights), (other_recipe, other_worths, other_calibrating, other_weights) = results
    assert recipe == other_recipe
    assert worths == pytest.approx(other_worths, abs=1e-4)
    torch.testing.assert_close(calibrating, other_calibrating, atol=1e-3, rtol=1e-3)
    for name, tensor in weights.items():
        torch.testing.assert_close(tensor, other_weights[name], atol=1e-4, rtol=1e-3)


@pytest.mark.slow
def test_torchrun_distributes_a_fit(finished, tmp_path):
    """Two processes run on loopback; DVC then keeps their output."""
    project = finished.copy(tmp_path / "project")
    tuned_file = project.root / "data" / "finetune" / "model.safetensors"
    assert tuned_file.exists()
    alone = read(tuned_file)[0]
    together = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "tasks")
    refused = run_python(project.root, *together, "head")
    assert refused.returncode
    assert "only finetune can run under torchrun" in refused.stderr
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}
    done = run_python(project.root, *together, "finetune", **threads)
    assert done.returncode == 0, done.stderr
    for name, tensor in read(tuned_file)[0].items():
        torch.testing.assert_close(tensor, alone[name], atol=1e-4, rtol=1e-3)
    assert project.dvc("commit", "--force", "finetune").returncode == 0
    assert "finetune" not in json.loads(project.dvc("status", "--json").stdout)


def test_an_error_in_one_process_is_raised(paths):
    from tasks.core.errors import RootstockError

    through_head(paths)
    with raises(RootstockError, "loss-not-finite"):
        tuned(paths, scratch=False, processes=2, rate=1e20, head_rate=1e20, warmup=0)


@pytest.mark.slow
def test_two_processes_agree_on_what_batchnorm_learned(paths):
    """The kept model from scratch has the validation loss of its epoch; with statistics per process it would not."""
    through_head(paths)
    tuned(paths, processes=2, epochs=20, patience=99, blocks=1)
    rows = [json.loads(line) for line in paths.curves.read_text().splitlines()]
    losses = [row[Curve.VALIDATION_LOSS] for row in rows if row[Curve.CANDIDATE] == Candidate.SCRATCH]
    trainer = context_of(paths).trainer
    network = build_network(TINY["architecture"], 3)
    network.load_state_dict(read(paths.scratch)[0])
    loss = score(network, trainer.validation.clean(), trainer.device, trainer.scoring).loss
    assert loss == pytest.approx(min(losses), rel=1e-5)
    assert loss < losses[0]
