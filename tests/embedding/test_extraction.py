"""Features are the same bits whoever computes them, in shards of any size."""

from __future__ import annotations

import hashlib
import threading

import pandas as pd
import pytest
import torch

from tasks.core.errors import RootstockError
from tasks.core.objective_sections import TeacherParams
from tasks.core.schema import Column
from tasks.core.sections import BackboneParams
from tasks.core.target import TargetSpec
from tasks.data import file_facts
from tasks.data.file_facts import facts_of_files as facts
from tasks.data.image_files import find
from tasks.data.manifest import usable
from tasks.embedding import spreading, thread_count
from tasks.embedding.matrix import matrix_files
from tasks.embedding.pretrained import PretrainedFile, frozen_backbone
from tasks.embedding.spreading import RemoteEmbedding
from tasks.hardware import available_memory
from tasks.hardware.device import choose
from tasks.images.transforms import RenderStyle
from tasks.images.views import draw_clean
from tasks.models.weights_file import write
from tasks.objectives.teacher import with_head
from tasks.objectives.teacher_loading import TeacherFile
from tasks.scorer.decode import DEFAULT
from tasks.scorer.heads import build_head
from tests.dask_cluster import dask_cluster, kill
from tests.errors import raises
from tests.project import wait_until
from tests.stages.contract import BACKBONE, augmented, embedded, ingested


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with dask_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def own_threads():
    """Restores the number of PyTorch's threads."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def alone(monkeypatch):
    """Computes without the cluster, if there is one."""
    monkeypatch.delenv("ROOTSTOCK_SCHEDULER", raising=False)


def without(row, *columns):
    return {name: value for name, value in row.items() if name not in columns}


def digest_of(paths):
    return hashlib.sha256(b"".join(file.read_bytes() for file in matrix_files(paths.matrix))).hexdigest()


def emptied(paths):
    for file in paths.feature_store.rglob("*.safetensors"):
        file.unlink()
    return paths


@pytest.fixture
def reference(paths, monkeypatch):
    """The digest of features that this process computes with one thread, in shards of two batches."""
    (paths.raw / "train" / "bar" / "broken.png").write_bytes(b"no image")
    monkeypatch.setattr(spreading, "LEAST_SHARDS", 1)
    monkeypatch.setattr(spreading, "SHARD", 2)
    ingested(paths), augmented(paths, automatic="trivial")  # it uses torch's global random state
    with monkeypatch.context() as patch:
        patch.delenv("ROOTSTOCK_SCHEDULER", raising=False)
        patch.setattr(thread_count, "threads_with_room", lambda *_: 1)
        assert embedded(paths, batch=4).embedded == 75
    return digest_of(paths)


@pytest.mark.parametrize("shard", [1, 3, 100])
@pytest.mark.usefixtures("alone", "own_threads")
def test_threads_compute_the_same_in_shards_of_any_size(paths, reference, monkeypatch, shard):
    monkeypatch.setattr(spreading, "SHARD", shard)
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        assert embedded(emptied(paths), batch=4).embedded == 75
        assert digest_of(paths) == reference


@pytest.mark.parametrize("shard", [1, 3])
def test_a_cluster_computes_the_same(cluster, paths, reference, monkeypatch, shard):
    monkeypatch.setattr(spreading, "SHARD", shard)
    assert embedded(emptied(paths), batch=4).embedded == 75
    assert digest_of(paths) == reference
    assert embedded(paths, batch=4).embedded == 0


def test_workers_that_are_killed_change_nothing(cluster, paths, reference, monkeypatch):
    monkeypatch.setattr(spreading, "SHARD", 1)
    emptied(paths)

    def kill_one():
        wait_until(lambda: any(paths.feature_store.rglob("*.safetensors")), 60)
        kill(cluster.workers.pop())

    killer = threading.Thread(target=kill_one)
    killer.start()
    embedded(paths, batch=4)
    killer.join()
    cluster.add_worker(threads=3)
    assert digest_of(paths) == reference
    embedded(emptied(paths), batch=4)
    assert digest_of(paths) == reference


def test_a_cluster_reads_the_same_facts(cluster, paths, monkeypatch):
    files = [*find(paths.raw).images, "gone.png"]
    (paths.raw / files[0]).write_bytes(b"no image")
    monkeypatch.setattr(file_facts, "SHARD", 5)
    there = list(facts(paths.raw, files, {}))
    readable = [row for row in there[:10] if Column.PIXEL_HASH in row]
    cached = {row[Column.SHA256]: without(row, Column.PATH, Column.SHA256) for row in readable}
    assert list(facts(paths.raw, files, cached)) == there
    monkeypatch.delenv("ROOTSTOCK_SCHEDULER")
    assert list(facts(paths.raw, files, {})) == there


def test_a_worker_of_another_kind_of_processor_is_refused(cluster, paths, reference, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setenv("ONEDNN_MAX_CPU_ISA", "AVX2")
        other = cluster.add_worker()
    try:
        with raises(RootstockError, "worker-differs") as caught:
            for _round in range(50):
                embedded(emptied(paths), batch=1)
    finally:
        kill(other)
    assert "ONEDNN_MAX_CPU_ISA AVX2 instead of missing" in str(caught.value)


def test_a_worker_that_does_not_see_the_files_is_refused(cluster, paths, reference, tmp_path):
    work = RemoteEmbedding(
        load=None,
        facts={},
        device=choose("cpu", "float32"),
        style=RenderStyle(),
        batch=4,
        root=tmp_path / "away",
        folder=tmp_path,
    )
    with raises(RootstockError, "worker-differs") as caught:
        work([])
    assert str(tmp_path / "away") in str(caught.value)


def test_weights_that_change_meanwhile_are_refused(paths):
    load = PretrainedFile(paths.pretrained, BackboneParams(**BACKBONE), DEFAULT, "0" * 64)
    with raises(RootstockError, "weights-changed"):
        load()


def test_as_many_threads_compute_as_have_room(paths, monkeypatch):
    backbone = frozen_backbone(paths.pretrained, BackboneParams(**BACKBONE))
    device, batch = choose("cpu", "float32"), 4
    side = backbone.preprocessing.crop
    needed = batch * thread_count.activation_bytes(backbone.module, side)
    assert needed > batch * 3 * side**2 * 4
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    for room, most in ((0, 1), (7 * needed, 3), (10000 * needed, 8)):
        monkeypatch.setattr(thread_count, "available_bytes", lambda room=room: room)
        assert thread_count.threads_with_room(backbone.module, side, device, batch) == most


def test_available_memory_is_that_of_the_container(tmp_path, monkeypatch):
    assert 2**20 < available_memory.available_bytes() < 2**50
    monkeypatch.setattr(available_memory, "CONTAINER", tmp_path)
    (tmp_path / "memory.max").write_text("max\n")
    machine = available_memory.available_bytes()
    (tmp_path / "memory.max").write_text("2000000\n")
    (tmp_path / "memory.stat").write_text("anon 500000\nfile 9000000\n")
    assert available_memory.available_bytes() == 1_500_000 < machine
    (tmp_path / "memory.stat").write_text("anon 2500000\n")
    assert available_memory.available_bytes() == 0
    monkeypatch.setattr(available_memory, "MACHINE", tmp_path / "none")
    (tmp_path / "memory.max").unlink()
    assert available_memory.available_bytes() > 2**20


def test_a_clusters_answers_of_a_teacher_are_the_same(cluster, paths, reference, tmp_path, monkeypatch):
    tiny = {name: BACKBONE[name] for name in ("architecture", "resize", "crop")}
    target, rows = TargetSpec.load(paths.task), usable(pd.read_parquet(paths.manifest))
    student = frozen_backbone(paths.pretrained, BackboneParams(**BACKBONE)).preprocessing
    file = TeacherFile(paths.pretrained, TeacherParams(weights="x", **tiny), target, tmp_path / "head", student)
    backbone = file.read()
    head = build_head(backbone.width, target.num_outputs, kind="linear")
    write(tmp_path / "head", head.state_dict(), {"kind": "linear"})
    teacher = file.reloadable(with_head(backbone, head.state_dict(), {"kind": "linear"}, target, paths.pretrained))
    common = (choose("cpu", "float32"), RenderStyle(), 4)

    def answers(store):
        return teacher.outputs(paths.raw, rows, draw_clean, tmp_path / store, *common, features=True)

    there = answers("there")
    with monkeypatch.context() as patch:
        patch.delenv("ROOTSTOCK_SCHEDULER")
        assert torch.equal(answers("here"), there)
    assert there.shape == (len(rows), target.num_outputs + backbone.width)
    write(tmp_path / "head", {name: 2 * tensor for name, tensor in head.state_dict().items()}, {"kind": "linear"})
    with raises(RootstockError, "weights-changed"):
        teacher.reload(features=True)
