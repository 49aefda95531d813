"""Lock, git, logs, summary, source, parameters and the command line."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
import torch
from mlflow import MlflowClient
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.__main__ import COMMANDS, main
from flows.config.parameters import check, load
from flows.doctor import Finding
from flows.local import git
from flows.local.environment import main_of, set_defaults
from flows.local.lock import flow_lock, holder
from flows.local.logs import RUN_LOGGERS, plain_errors
from flows.local.servers import _alive
from flows.registry.run_summary import result_rows, text_table
from flows.registry.runs import experiment_id
from flows.retrain import refuse_early
from flows.sources.images import images_of, listing
from flows.sources.weights import downloaded, teacher_of, weights_of
from flows.stages.supervise import _failure, _slot
from tasks.core.errors import EXIT_USAGE, DataRefusedError, ParamsError, RootstockError
from tasks.core.params import read_document
from tasks.core.schema import Column
from tasks.core.sections import Objective
from tasks.models.weights_file import read, write
from tasks.objectives.teacher import SPEC
from tests.drawn import write_shapes
from tests.project import ROOT, Project, environment

HOLDING = """
from pathlib import Path
from flows.local.lock import flow_lock
with flow_lock(Path({folder!r}), "retrain"):
    print("in", flush=True)
    input()
"""


def test_the_lock_is_free_again_however_its_holder_ended(tmp_path):
    holding = HOLDING.format(folder=str(tmp_path))
    process = subprocess.Popen(
        [sys.executable, "-c", holding], cwd=ROOT, env=environment(), stdin=-1, stdout=-1, text=True
    )
    assert process.stdout.readline() == "in\n"
    with (
        pytest.raises(RootstockError, match=f"retrain \\(process {process.pid}\\) since 20"),
        flow_lock(tmp_path, "other"),
    ):
        pass
    process.kill()
    process.wait()
    with flow_lock(tmp_path, "other"):
        assert holder(tmp_path).startswith("other")


def test_only_code_and_parameters_make_a_checkout_dirty(tmp_path, monkeypatch):
    project = Project(tmp_path)
    project.git("init", "-q")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pins.json").write_text("{}")
    (tmp_path / "params.yaml").write_text("seed: 0\n")
    project.commit()
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dvc.lock").touch()
    (tmp_path / "data" / "raw.dvc").touch()
    (tmp_path / "data" / "pins.json").write_text('{"init": 1}')
    assert git.difference() == ""
    (tmp_path / "params.yaml").write_text("seed: 1\n")
    (tmp_path / "new.py").touch()
    assert "+seed: 1" in git.difference()
    assert "untracked: new.py" in git.difference()
    (tmp_path / "params.yaml").write_bytes("seed: 1 # größer\n".encode("latin-1"))
    assert "+seed: 1 # gr" in git.difference()
    assert len(git.commit()) == 40


def test_outside_of_a_repository_there_is_no_commit(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git.commit() == "none"


def test_an_error_that_explains_itself_has_no_traceback_and_others_do():
    stream = io.StringIO()
    logger = logging.getLogger(RUN_LOGGERS[0])
    handler = logging.StreamHandler(stream)
    logger.addHandler(handler)
    plain_errors()
    try:
        for error in (RootstockError("do this instead"), KeyError("bug")):
            try:
                raise error
            except Exception:
                logger.exception("the engine's own words")
    finally:
        logger.removeHandler(handler)
    told = stream.getvalue()
    assert told.startswith("do this instead\nthe engine's own words\nTraceback")
    assert told.count("Traceback") == 1


def test_seconds_that_a_run_does_not_know_are_not_made_up(tmp_path):
    paths = load(ROOT / "params.yaml").paths.model_copy(update={"evaluate": tmp_path})
    scored = {name: {"value": 0.9, "low": 0.8, "high": 0.95} for name in ("accuracy", "macro_f1", "ece")}
    (tmp_path / "metrics.json").write_text(json.dumps({"from scratch": scored, "fine-tuned": scored}))
    rows = result_rows(paths, {"finetune/seconds_scratch": 3.21, "seconds/head": 1.0})
    assert [row[-1] for row in rows] == ["3.2", "not computed now"]
    assert rows[0][:3] == ["from scratch", "90.0%", "80.0% to 95.0%"]
    assert text_table(("a", "bb"), [["x", "y"]]) == "a  bb\nx  y"


@pytest.fixture
def params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    document = read_document(ROOT / "params.yaml")

    def changed(**sections):
        for name, values in sections.items():
            document[name] = {**document[name], **values}
        return check(document)

    return changed


def test_the_digits_are_rendered_once(params, tmp_path):
    folder = images_of(params())
    first = listing(folder)
    assert len(list(folder.rglob("*.png"))) == 1797
    assert listing(images_of(params())) == first


def test_sources_are_checked_before_anything_is_copied(params, tmp_path):
    root = write_shapes(tmp_path / "shapes", {"": 2})
    assert images_of(params(data={"source": str(root)})) == root
    (root / ".git" / "refs" / "tags").mkdir(parents=True)
    assert images_of(params(data={"source": str(root)})) == root
    (root / "link").symlink_to(tmp_path)
    with pytest.raises(RootstockError, match="link is a link to a folder"):
        images_of(params(data={"source": str(root)}))
    (root / "link").unlink()
    if sys.platform == "linux":  # others refuse such names themselves
        latin = root / "bar" / os.fsdecode(b"K\xe4fer.png")
        latin.touch()
        with pytest.raises(RootstockError, match=r"K\\xe4fer\.png' is not UTF-8; rename it"):
            images_of(params(data={"source": str(root)}))
        latin.unlink()
    (root / "rootstock.parquet").touch()
    with pytest.raises(RootstockError, match=r"rootstock\.parquet, which is a name of Rootstock's own"):
        images_of(params(data={"source": str(root)}))
    (root / "rootstock.parquet").unlink()
    (root / "empty").mkdir()
    with pytest.raises(DataRefusedError, match="empty"):
        images_of(params(data={"source": str(root)}))
    assert "empty" in (tmp_path / ".state" / "failed" / "source" / "report.html").read_text()
    with pytest.raises(RootstockError, match=r"data\.separator: only the column label"):
        images_of(params(data={"source": str(root), "separator": ";"}))
    for source in (str(root), "digits"):
        with pytest.raises(RootstockError, match=r"data\.targets: only a table"):
            images_of(params(data={"source": source, "targets": ["angle"]}))
    with pytest.raises(RootstockError, match="is no folder, table or archive"):
        images_of(params(data={"source": str(tmp_path / "none")}))


def test_the_main_checkout_is_where_a_worktrees_registry_leads(tmp_path):
    main, disk = tmp_path / "main", tmp_path / "disk"
    worktree = main / ".state" / "worktrees" / "1" / "rootstock"
    for folder in (worktree, disk):
        folder.mkdir(parents=True)
    assert main_of(main) == main
    (main / ".registry").symlink_to(disk)
    (worktree / ".registry").symlink_to(main / ".registry")
    assert (main_of(main), main_of(worktree)) == (main, main)


def test_a_listing_changes_with_names_sizes_and_times(tmp_path):
    (tmp_path / "a").write_text("a")
    first = listing(tmp_path)
    (tmp_path / "a").write_text("ab")
    second = listing(tmp_path)
    (tmp_path / "a").rename(tmp_path / "b")
    assert len({first, second, listing(tmp_path)}) == 3


def test_torchvisions_weights_need_a_name_and_a_network(params, monkeypatch, tmp_path):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    wanted = {"architecture": "squeezenet1_1", "weights": "torchvision:IMAGENET9000"}
    with pytest.raises(RootstockError, match="torchvision has no IMAGENET9000 for squeezenet1_1"):
        weights_of(params(backbone=wanted))

    def offline(*_args, **_kwargs):
        raise OSError("no route to host")

    monkeypatch.setattr("torch.hub.download_url_to_file", offline)
    with pytest.raises(
        RootstockError, match=r"could not be downloaded \(no route to host\).*put it at .*squeezenet1_1"
    ):
        weights_of(params(backbone={**wanted, "weights": "torchvision:DEFAULT"}))


def test_weights_that_were_downloaded_before_are_used_offline(monkeypatch, tmp_path):
    """The file that torchvision names, with its checksum in its name, is handed on with its preprocessing."""
    import torch
    from torchvision.models import SqueezeNet1_1_Weights, squeezenet1_1

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    name = SqueezeNet1_1_Weights.DEFAULT.url.rpartition("/")[2]
    file = tmp_path / "torch" / "hub" / "checkpoints" / name
    file.parent.mkdir(parents=True)
    network = squeezenet1_1()
    torch.save(network.state_dict(), file)
    state, description = read(downloaded("squeezenet1_1", "DEFAULT", tmp_path))
    assert torch.equal(state["features.0.weight"], network.state_dict()["features.0.weight"])
    assert description["preprocessing"]["resize"] == 256


def test_a_section_that_nothing_reads_is_told(tmp_path):
    text = (ROOT / "params.yaml").read_text().replace("seed: 0", "sead: 0", 1)
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=r"line \d+: nothing reads sead"):
        load(tmp_path / "params.yaml")


@pytest.mark.parametrize("arguments", [[], ["retrian"]])
def test_an_unknown_command_shows_the_known_ones(arguments, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(arguments) == EXIT_USAGE
    assert "retrain|data|predict|compare|release" in capsys.readouterr().err


def test_findings_say_the_remedy_only_when_it_is_needed():
    assert Finding("disk is free", True, "free some").line() == "ok   disk is free"
    assert "free some" in Finding("disk is full", False, "free some").line()


def test_a_full_disk_is_told_in_words(monkeypatch, capsys):
    def full(_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(COMMANDS, "doctor", full)
    assert main(["doctor"]) == 1
    assert "the disk is full" in capsys.readouterr().err


def test_nobody_is_a_teacher_too(tmp_path, monkeypatch):
    """The same file each time, with nothing in it."""
    monkeypatch.chdir(tmp_path)
    wanted = load(ROOT / "params.yaml")
    file = teacher_of(wanted)
    assert read(file) == ({}, {})
    assert teacher_of(wanted) == file


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"weights": "torchvision:DEFAULT"}, r"teacher\.architecture: name it"),
        ({"weights": "models:/rootstock"}, r"models:/rootstock: which version\? Give models:/name@alias"),
        ({"weights": "nowhere.pth"}, r"teacher\.weights: nowhere\.pth is no file; give .*models:/name@alias$"),
    ],
)
def test_a_teacher_that_cannot_be_had_is_told(teacher, message):
    document = read_document(ROOT / "params.yaml")
    document["teacher"].update(teacher)
    with pytest.raises(RootstockError, match=message):
        teacher_of(check(document))


def test_a_teacher_of_other_classes_is_told_before_anything_is_computed(tmp_path):
    rows = {Column.LABEL: ["ant", "bee"], Column.SPLIT: "train", Column.QUARANTINE: None}
    pd.DataFrame(rows).to_parquet(tmp_path / "manifest.parquet")
    known = {"classes": ["cat", "dog"], "targets": [], "label_thresholds": []}
    write(tmp_path / "teacher", {"weight": torch.zeros(1)}, {SPEC: known})
    params = check(read_document(ROOT / "params.yaml"))
    places = {"manifest": tmp_path / "manifest.parquet", "teacher": tmp_path / "teacher"}
    wanted = {"objective": Objective.DISTILLATION, "teacher": params.teacher.model_copy(update={"weights": "x"})}
    asked = SimpleNamespace(**wanted, evaluate=params.evaluate, paths=SimpleNamespace(**places))
    with pytest.raises(ParamsError, match="the teacher answers cat, dog, but the data asks for ant, bee"):
        refuse_early(asked)
    asked.objective = Objective.LABELS  # nobody asks it then
    refuse_early(asked)


def test_a_head_that_cannot_be_fine_tuned_is_told_at_the_door():
    document = read_document(ROOT / "params.yaml")
    document["head"]["kind"] = "knn"
    with pytest.raises(ParamsError, match=r"a knn head has nothing to fine-tune: set finetune\.epochs to 0"):
        check(document)
    document["finetune"]["epochs"] = 0
    check(document)


def test_distillation_without_a_teacher_is_told_at_the_door():
    document = read_document(ROOT / "params.yaml")
    document["objective"] = "distillation"
    with pytest.raises(ParamsError, match="there is no teacher; name models:/rootstock@live"):
        teacher_of(check(document))


def test_a_stage_whose_results_dvc_could_not_keep_is_told(params):
    record = {"run": "x", "seconds": 1.0, "report": {}}
    failure = _failure("head", 255, record, ["ERROR: No space left on device"], params())
    assert str(failure) == (
        "head was computed, but DVC could not keep it; the last that was printed:\nERROR: No space left on device"
    )


def test_a_proxy_is_not_asked_for_servers_on_loopback(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.delenv("no_proxy", raising=False)
    for _ in range(2):
        set_defaults()
        assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "example.org,127.0.0.1,localhost"
    monkeypatch.setenv("no_proxy", "*")
    set_defaults()
    assert os.environ["no_proxy"] == "*"


def test_an_experiment_that_was_deleted_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracker = MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    tracker.delete_experiment(experiment_id(tracker, "rootstock"))
    with pytest.raises(RootstockError, match="the experiment rootstock was deleted in MLflow"):
        experiment_id(tracker, "rootstock")


def test_a_clock_that_was_set_loses_no_server():
    """The kernel tells when a process began by the clock as it is now."""
    began = psutil.Process().create_time()
    assert _alive({"url": "", "pid": os.getpid(), "created": began + 2})
    assert not _alive({"url": "", "pid": os.getpid(), "created": began + 3600})


def test_a_slot_that_prefect_does_not_have_is_told(prefect_server):
    told = pytest.raises(RootstockError, match=r"run\.slot: there is no concurrency limit gpu; make one: prefect")
    with temporary_settings({PREFECT_API_URL: prefect_server}), told, _slot("gpu"):
        pytest.fail("it was taken")
