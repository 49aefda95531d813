"""What is spread on a real Dask cluster is the same as here; what can go wrong there ends in words."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from operator import attrgetter

import pytest
from distributed import Client

from tasks.core import cluster as clusters
from tasks.core import scheduler_address
from tasks.core.errors import ParamsError, RootstockError
from tasks.core.spread import SCHEDULER, spread
from tests.core.test_processes import once_killed, refuse, square
from tests.dask_cluster import DaskCluster, certificates, dask_cluster, kill
from tests.errors import raises
from tests.project import ROOT, run_python, wait_until


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    with dask_cluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


def slow(number):
    time.sleep(0.2)
    return number


def test_results_come_in_order(cluster):
    assert list(spread(square, range(50))) == [number * number for number in range(50)]
    assert list(spread(square, [])) == []


def test_few_shards_are_taken_ahead(cluster):
    taken = []
    results = spread(slow, (taken.append(number) or number for number in range(100)))
    next(results)
    assert len(taken) <= clusters.AHEAD * len(cluster.workers) + 1
    results.close()


def test_nothing_to_compute_needs_no_scheduler(monkeypatch):
    monkeypatch.setenv(SCHEDULER, "tls://127.0.0.1:1")
    assert list(spread(square, [])) == []


def test_an_error_of_the_work_is_as_here(cluster):
    with raises(ParamsError, "data.source") as caught:
        list(spread(refuse, [7]))
    assert (str(caught.value), caught.value.exit_code) == ("number 7", 2)
    for work, shard, error in ((os.stat, "/no such file", FileNotFoundError), (attrgetter("no"), 1, AttributeError)):
        with pytest.raises(error):
            list(spread(work, [shard]))
    with pytest.raises(ZeroDivisionError):
        list(spread(square, (1 // number for number in (1, 0))))


def test_a_killed_worker_is_replaced_and_its_work_done_again(cluster, tmp_path):
    places = [(tmp_path / "killed", number) for number in range(20)]
    assert list(spread(once_killed, places)) == list(range(20))
    assert (tmp_path / "killed").exists()
    cluster.add_worker()


def end_worker(_number):
    os.kill(os.getpid(), signal.SIGKILL)


def test_work_that_ends_its_workers_is_given_up(tmp_path, monkeypatch):
    cluster = DaskCluster(tmp_path, DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES="1")
    try:
        cluster.add_worker()
        cluster.add_worker()
        monkeypatch.setattr(os, "environ", {**os.environ, **cluster.environment})
        with raises(RootstockError, "process-ended") as caught:
            list(spread(end_worker, range(1)))
        assert "died; 1 others had died before it with the same work, begun or waiting" in str(caught.value)
    finally:
        cluster.stop()


def test_a_worker_with_other_code_is_refused(cluster, tmp_path):
    for folder in ("tasks", "tests"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "requirements.txt", tmp_path)
    (tmp_path / "tasks" / "core" / "digest.py").write_text("x = 1\n")
    other = cluster.add_worker(tmp_path)
    try:
        with raises(RootstockError, "worker-differs") as caught:
            for _round in range(600):
                list(spread(slow, range(2)))
    finally:
        kill(other)
    for part in ("has code", "instead of", "stop it"):
        assert part in str(caught.value)
    assert list(spread(square, range(3))) == [0, 1, 4]


def test_a_worker_without_the_code_is_refused(tmp_path, monkeypatch):
    cluster = DaskCluster(tmp_path)
    try:
        cluster.add_worker(tmp_path)
        monkeypatch.setattr(os, "environ", {**os.environ, **cluster.environment})
        with raises(RootstockError, "worker-differs") as caught:
            list(spread(square, range(3)))
        assert "No module named 'tasks'" in str(caught.value)
    finally:
        cluster.stop()


@pytest.mark.parametrize("pause", [0, 8])
def test_the_end_of_the_scheduler_or_of_all_workers_is_told(tmp_path, monkeypatch, pause):
    """Also if the client is busy until the connection is given up."""
    cluster = DaskCluster(tmp_path)
    try:
        worker = cluster.add_worker()
        monkeypatch.setattr(os, "environ", {**os.environ, **cluster.environment})
        results = spread(slow, range(100))
        assert next(results) == 0
        monkeypatch.setattr(clusters, "WORKERS", 2)
        threading.Timer(0.5, worker.kill).start()
        with raises(RootstockError, "no-workers"):
            list(results)
        monkeypatch.setattr(clusters, "WORKERS", 60)
        cluster.add_worker()
        monkeypatch.setattr(clusters, "CONNECT", 3)
        results = spread(slow, range(100))
        assert next(results) == 0
        threading.Timer(0.5, cluster.scheduler.kill).start()
        time.sleep(pause)
        with raises(RootstockError, "scheduler-gone") as caught:
            list(results)
        assert "what was finished is kept" in str(caught.value)
        monkeypatch.setattr(clusters, "CONNECT", 2)
        with raises(RootstockError, "no-scheduler"):
            list(spread(square, range(3)))
    finally:
        cluster.stop()


def workers_that_fit(dask_scheduler):
    """Returns how many workers an adaptive cluster would start."""
    return dask_scheduler.adaptive_target()


def test_an_adaptive_cluster_has_time_to_start_its_workers(tmp_path, monkeypatch, capsys):
    cluster = DaskCluster(tmp_path)

    def adapt():
        with Client(cluster.address, set_as_default=False) as client:
            wait_until(lambda: client.run_on_scheduler(workers_that_fit) > 0, 60)
        cluster.add_worker()

    try:
        monkeypatch.setattr(os, "environ", {**os.environ, **cluster.environment})
        with ThreadPoolExecutor(1) as pool:
            adapted = pool.submit(adapt)
            assert list(spread(square, range(3))) == [0, 1, 4]
            adapted.result()
        assert "waiting up to 5 minutes for workers" in capsys.readouterr().out
    finally:
        cluster.stop()


def test_with_tls_only_those_with_a_certificate_take_part(tmp_path):
    cluster = DaskCluster(tmp_path, "tls", **certificates(tmp_path))
    try:
        cluster.add_worker()
        script = "from tasks.core.spread import spread; print(list(spread(abs, [-1, -2])))"
        more = {"ROOTSTOCK_SCHEDULER": cluster.address}
        done = run_python(ROOT, "-c", script, **more, **cluster.variables)
        assert done.stdout.endswith("[1, 2]\n"), done.stderr
        refused = run_python(ROOT, "-c", script, **more)
        assert "no scheduler answers at tls://" in refused.stderr
        assert "CA_FILE" in refused.stderr
    finally:
        cluster.stop()


@pytest.mark.parametrize(
    ("address", "said", "key"),
    [
        ("tcp://10.0.0.1:8786", "off", "scheduler-without-tls"),
        ("tcp://scheduler.example:8786", "off", "scheduler-without-tls"),
        ("tcp://127.0.0.1:8786", "", "scheduler-without-tls"),
        ("localhost:8786", "off", "scheduler-address"),
        ("ucx://127.0.0.1:8786", "off", "scheduler-address"),
        ("scheduler", "off", "scheduler-address"),
        ("tcp://127.0.0.1", "off", "scheduler-address"),
        ("tcp://127.0.0.1:abc", "off", "scheduler-address"),
        ("TCP://127.0.0.1:8786", "off", "scheduler-address"),
        ("tcp://[::1", "off", "scheduler-address"),
        ("tls://me:secret@127.0.0.1:8786", "", "scheduler-address"),
    ],
)
def test_an_address_without_tls_is_refused_unless_it_is_here_and_the_user_says_so(monkeypatch, address, said, key):
    monkeypatch.setenv(SCHEDULER, address)
    monkeypatch.setenv(scheduler_address.TLS, said)
    with raises(RootstockError, key):
        list(spread(square, [1]))


def test_without_the_package_its_target_is_named(monkeypatch):
    monkeypatch.setenv(SCHEDULER, "tls://scheduler.example:8786")
    monkeypatch.setattr(scheduler_address, "find_spec", lambda _name: None)
    monkeypatch.setitem(sys.modules, "distributed", None)
    with raises(RootstockError, "cluster-not-installed") as caught:
        list(spread(square, [1]))
    assert "make cluster" in str(caught.value)
