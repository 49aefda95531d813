"""Answers, and outputs under corruptions, are the same bits whoever computes them."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import replace
from functools import partial

import pytest
import torch
from safetensors.torch import save_file

from tasks.core.errors import RootstockError
from tasks.core.files import sha256_of
from tasks.core.target import TargetKind
from tasks.data.image_files import find
from tasks.embedding.worker import CPU, facts_of_bits
from tasks.evaluation import batch_prediction
from tasks.evaluation.batch_prediction import Part, RemotePartPrediction, score_parts
from tasks.evaluation.prediction_tables import merge
from tasks.evaluation.robustness import CorruptedOutputs, Sample
from tasks.evaluation.scorers import TunedFile
from tasks.scorer.answer import Scorer, spec_of
from tasks.scorer.network import build_network
from tasks.scorer.preprocessing import Preprocessing
from tests.dask_cluster import dask_cluster
from tests.drawn import SHAPES
from tests.errors import raises

SPEC = spec_of("resnet8", SHAPES, Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear"))
TRIALS = [("none", 0.0), ("shift", 0.1), ("noise", 0.1), ("jpeg", 20)]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with dask_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def alone(monkeypatch):
    """Returns a context in which there is no cluster."""

    @contextmanager
    def without():
        with monkeypatch.context() as patch:
            patch.delenv("ROOTSTOCK_SCHEDULER")
            yield

    return without


@pytest.fixture
def load(paths):
    """Writes a network, and returns what loads it in any process."""
    paths.spec.parent.mkdir(parents=True)
    paths.tuned.parent.mkdir(parents=True)
    paths.spec.write_text(json.dumps(SPEC))
    save_file(build_network("resnet8", len(SHAPES)).state_dict(), paths.tuned)
    return partial(Scorer.load, paths.spec, paths.tuned)


@pytest.fixture
def predicted(load, paths, tmp_path, monkeypatch):
    """Returns a function that answers all files, of which one is broken and one missing, and returns the tables."""
    monkeypatch.setattr(batch_prediction, "PART_SIZE", 16)
    monkeypatch.setattr(batch_prediction, "BATCH", 4)
    files = [*find(paths.raw).images, "gone.png"]
    (paths.raw / files[5]).write_bytes(b"no image")

    def answers(name, load=None):
        parts, tables = tmp_path / name, (tmp_path / f"{name}.parquet", tmp_path / f"{name}.csv")
        scorer = Scorer.load(paths.spec, paths.tuned)
        counts = list(score_parts(scorer, TargetKind.CLASSIFICATION, paths.raw, files, parts, load))
        assert counts == [*range(16, len(files), 16), len(files)]
        assert list(score_parts(scorer, TargetKind.CLASSIFICATION, paths.raw, files, parts, load)) == []
        assert merge(parts, *tables) == (len(files) - 2, 2)
        return [table.read_bytes() for table in tables]

    return answers


@contextmanager
def threads(count):
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def test_threads_and_a_cluster_answer_the_same(cluster, alone, predicted, load):
    with threads(1):
        here = predicted("here")
    with threads(3), alone():
        assert predicted("three threads", load) == here
    assert predicted("there", load) == here


def test_threads_and_a_cluster_score_corruptions_the_same(cluster, alone, load, paths):
    tuned = TunedFile(paths.tuned, sha256_of(paths.tuned), SPEC, len(SHAPES))
    sample = Sample(paths.raw, tuple(find(paths.raw).images[:10]), tuned)
    work = CorruptedOutputs(load(), sample.squares(load().preprocessing), 4, sample)
    with threads(1):
        here = [work(trial) for trial in TRIALS]
    assert not torch.equal(here[0], here[1])
    with threads(3), alone():
        assert all(map(torch.equal, work.of_all(TRIALS), here))
    assert all(map(torch.equal, work.of_all(TRIALS), here))
    other = replace(work, sample=replace(sample, load=replace(tuned, sha256="0" * 64)))
    with raises(RootstockError, "weights-changed"):
        list(other.of_all(TRIALS))


def test_a_worker_that_does_not_see_the_files_or_is_of_another_kind_is_refused(load, paths, tmp_path):
    facts = facts_of_bits(CPU)
    work = RemotePartPrediction(load, facts, TargetKind.CLASSIFICATION, paths.raw, tmp_path / "away")
    with raises(RootstockError, "worker-differs") as caught:
        work(Part(0, [], 4))
    assert str(tmp_path / "away") in str(caught.value)
    other = replace(work, folder=tmp_path, facts={**facts, "processor": "another"})
    with raises(RootstockError, "worker-differs") as caught:
        other(Part(0, [], 4))
    assert "instead of another" in str(caught.value)
