"""The whole flow, with its real server, tracker, remote and processes, on drawn images with a tiny backbone."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest

from flows.local.lock import holder
from flows.local.state import CHILDREN
from flows.registry.register import TOLERANCE
from flows.registry.tags import Tag
from tasks.core.errors import EXIT_BROKEN, EXIT_DATA_REFUSED, EXIT_INTERRUPTED, EXIT_USAGE
from tasks.core.files import read_json
from tasks.core.schema import STAGES
from tasks.objectives.search_report import SearchReport
from tasks.serving.golden import Golden
from tests.drawn import drawn
from tests.project import Project, is_alive, wait_until
from tests.terminal import Terminal

LINES = 30  # of a whole run, with its table and the next steps
WHAT = re.compile(r"^(\w+) *\| (.*)$", re.MULTILINE)


def became(output: str) -> dict[str, str]:
    """Returns the last line logged by each stage."""
    return dict(WHAT.findall(output))


def statuses(project: Project) -> list[str]:
    return sorted(run.info.status for run in project.runs())


@pytest.fixture
def project(finished: Project, tmp_path) -> Project:
    """Returns the test's own copy of a finished project."""
    return finished.copy(tmp_path / "project")


def test_the_first_run_computes_every_stage_and_registers_a_challenger(finished):
    assert set(finished.reports()) == set(STAGES)
    assert "version 1, new: challenger" in finished.first
    lines = finished.first.splitlines()
    assert len(lines) <= LINES, finished.first
    assert lines[-1] == "details     .state/logs/retrain.log"
    assert list(became(finished.first)) == ["source", *STAGES, "register"]
    assert re.search(r"fine-tuned +\d+\.\d%", finished.first)
    assert (finished.root / "data" / "evaluate" / "results.html").as_uri() in finished.first
    log = (finished.root / ".state" / "logs" / "retrain.log").read_text()
    assert "epochs fine-tuned" in log
    assert "Finished in state" in log
    (version,) = finished.versions()
    challenger = finished.mlflow().get_model_version_by_alias("rootstock", "challenger")
    assert int(challenger.version) == int(version.version) == 1
    assert version.tags[Tag.PROOF] == "passed"
    assert statuses(finished) == ["FINISHED"]


def test_make_clean_knows_all_that_a_run_keeps(finished):
    assert {child.name for child in (finished.root / ".state").iterdir()} <= CHILDREN


def test_the_run_records_its_inputs_and_its_results(finished):
    (run,) = finished.runs()
    client = finished.mlflow()
    assert run.data.params["augment.views"] == "3"
    assert run.data.tags[Tag.GIT_DIRTY] == "false"
    assert run.data.tags[Tag.GIT_COMMIT] == finished.git("rev-parse", "HEAD").strip()
    assert {"tuned/accuracy", "tuned/accuracy_low", "scratch/ece", "probe/macro_f1", "seconds/finetune"} <= set(
        run.data.metrics
    )
    steps = [point.step for point in client.get_metric_history(run.info.run_id, "tuned/validation_loss")]
    assert steps == sorted(set(steps)) == [0, 3, 6, 9]
    (dataset,) = [used.dataset for used in run.inputs.dataset_inputs]
    assert dataset.digest == run.data.tags[Tag.DATA_MD5]
    assert dataset.digest in (finished.root / "data" / "raw.dvc").read_text()
    logged = {
        file.path
        for folder in ("evaluate", "validate", "lineage", "augment")
        for file in client.list_artifacts(run.info.run_id, folder)
    }
    assert {"evaluate/confusion.png", "evaluate/results.html", "validate/report.html", "augment/preview.png"} <= logged
    assert {"lineage/dvc.lock", "lineage/params.yaml", "lineage/raw.dvc", "lineage/difference.diff"} <= logged


def test_the_registered_model_is_no_pickle_and_takes_bytes(finished, monkeypatch, tmp_path):
    import mlflow

    monkeypatch.setenv("MLFLOW_ALLOW_PICKLE_DESERIALIZATION", "false")
    (version,) = finished.versions()
    (folder,) = (finished.root / ".registry" / "artifacts").rglob(version.source.removeprefix("models:/"))
    files = {file.name: file for file in folder.rglob("*") if file.is_file()}
    assert {"MLmodel", "model_code.py", "answer.py", "spec.json", "model.safetensors"} <= set(files)
    assert not [name for name in files if name.endswith(("pkl", "pickle", "pth"))]
    copy = shutil.copytree(files["MLmodel"].parent, tmp_path / "model")  # MLflow writes bytecode beside its code
    model = mlflow.pyfunc.load_model(str(copy))
    assert [column.name for column in model.metadata.signature.outputs] == [
        "label",
        "probability",
        "confident",
        "distribution",
        "error",
    ]
    rows = pd.read_parquet(finished.root / "data" / "evaluate" / "predictions.parquet")
    pictures = [(finished.root / "data" / "raw" / path).read_bytes() for path in rows["path"]]
    for count in (1, 2, 5):
        answer = model.predict(pd.DataFrame({"image": pictures[:count]}))
        assert list(answer["label"]) == list(rows["predicted"][:count])
        assert all(sum(row.values()) == pytest.approx(1, abs=1e-5) for row in answer["distribution"])
    golden = Golden.read(copy / "artifacts")
    assert golden.picture in pictures
    assert golden.difference(model.predict(model.input_example).iloc[0]) <= TOLERANCE


def test_a_second_run_computes_and_registers_nothing_and_reports_it(project):
    before = project.reports()
    done = project.retrain()
    assert done.returncode == 0, done.stdout + done.stderr
    assert {stage: became(done.stdout)[stage] for stage in STAGES} == dict.fromkeys(STAGES, "unchanged")
    assert "version 1, already registered" in done.stdout
    assert project.reports() == before
    assert (len(project.versions()), statuses(project)) == (1, ["FINISHED"])


@pytest.mark.slow
def test_results_that_dvc_computed_are_up_to_date_for_the_flow(prepared, tmp_path):
    project = prepared.copy(tmp_path / "project")
    assert project.flows("data").returncode == 0
    done = project.dvc("repro")
    assert done.returncode == 0, done.stdout + done.stderr
    before = project.reports()
    done = project.retrain()
    assert "version 1, new: challenger" in done.stdout, done.stdout + done.stderr
    assert project.reports() == before
    assert json.loads(project.dvc("status", "--json").stdout) == {}


def test_results_that_the_flow_computed_are_up_to_date_for_dvc(project):
    assert json.loads(project.dvc("status", "--json").stdout) == {}
    assert "Running stage" not in project.dvc("repro", "--dry").stdout


@pytest.mark.slow
def test_a_changed_parameter_runs_what_follows_and_going_back_restores_it_without_computing(project):
    before = project.reports()
    done = project.retrain("--head.strengths", "[0.5]")
    assert done.returncode == 0, done.stdout + done.stderr
    after, place = project.reports(), STAGES.index("head")
    assert [stage for stage in STAGES if after[stage] != before[stage]] == list(STAGES[place:])
    assert [became(done.stdout)[stage] for stage in STAGES[:place]] == ["unchanged"] * place
    assert project.numbers() == [1, 2]
    client, (newest, _) = project.mlflow(), project.runs()
    logged = [point.value for point in client.get_metric_history(newest.info.run_id, "tuned/validation_loss")]
    curve = pd.read_json(project.root / "data" / "finetune" / "curves.jsonl", lines=True)
    losses = curve.loc[curve["candidate"] == "fine-tuned", "validation_loss"].tolist()
    assert logged == pytest.approx(losses, rel=1e-9)
    before = after
    done = project.retrain("--head.strengths", str(_strengths(project, "HEAD")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert project.reports() == before
    assert became(done.stdout)["finetune"] == "restored from an earlier run"
    assert "version 1, already registered" in done.stdout
    assert len(project.runs()) == 2
    assert int(client.get_model_version_by_alias("rootstock", "challenger").version) == 1


def _strengths(project: Project, commit: str) -> list[float]:
    from ruamel.yaml import YAML

    return list(YAML(typ="safe").load(project.git("show", f"{commit}:params.yaml"))["head"]["strengths"])


def copy_of_images(project: Project) -> Path:
    """Copies the project's images to a folder that a test may modify."""
    source = project.root.parent / "images"
    for path in (project.root / "data" / "raw").rglob("*.png"):
        target = source / path.relative_to(project.root / "data" / "raw")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    return source


@pytest.mark.parametrize(
    ("spoil", "fact"),
    [
        (lambda folder: (folder / "train" / "bar" / "0.png").write_bytes(b"junk"), "train/bar/0.png: not an image"),
        pytest.param(
            lambda folder: [file.unlink() for file in (folder / "test" / "ring").iterdir()],
            "every folder holds images (1: test/ring)",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            lambda folder: (folder / "test" / "bar" / "0.png").write_bytes(
                (folder / "train" / "bar" / "1.png").read_bytes()
            ),
            "no picture is in two splits",
            marks=pytest.mark.slow,
        ),
    ],
    ids=["broken file", "empty class", "leak"],
)
def test_bad_data_is_refused_with_a_report_and_the_last_good_results_stay(project, spoil, fact):
    source = copy_of_images(project)
    spoil(source)
    good = (project.root / "data" / "evaluate" / "metrics.json").read_bytes()
    done = project.retrain("--data.source", str(source))
    assert done.returncode == EXIT_DATA_REFUSED, done.stdout + done.stderr
    assert fact in done.stderr
    assert_error_is_last(done)
    assert "Traceback" not in done.stdout + done.stderr
    assert (project.root / "data" / "evaluate" / "metrics.json").read_bytes() == good
    assert len(project.versions()) == 1
    assert "RUNNING" not in statuses(project)
    (page,) = re.findall(r"\.state/failed/\w+/report\.html", done.stderr)
    assert "critical" in (project.root / page).read_text()


def assert_error_is_last(done: subprocess.CompletedProcess[str]) -> None:
    """Checks that the error is said once, on standard error, and that nothing else is said there."""
    assert done.stderr.startswith("error: "), done.stderr
    first = done.stderr.splitlines()[0].removeprefix("error: ")
    assert (done.stdout + done.stderr).count(first) == 1
    assert "Finished in state" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "fact"),
    [
        (("--finetune.blocks", "many"), EXIT_USAGE, "finetune.blocks"),
        pytest.param(("--fintune.blocks", "1"), EXIT_USAGE, "did you mean finetune.blocks", marks=pytest.mark.slow),
        pytest.param(("finetune.blocks=1",), EXIT_USAGE, "--section.key value", marks=pytest.mark.slow),
        pytest.param(
            ("--backbone.architecture", "resnet51"), EXIT_USAGE, "did you mean resnet", marks=pytest.mark.slow
        ),
        pytest.param(("--backbone.weights", "none.pth"), EXIT_USAGE, "none.pth is no file", marks=pytest.mark.slow),
        pytest.param(
            ("--backbone.weights", "models:/rootstock@champion"),
            EXIT_BROKEN,
            "not in the registry",
            marks=pytest.mark.slow,
        ),
        (("--data.source", "nowhere"), EXIT_USAGE, "nowhere is no folder, table or archive"),
        pytest.param(("--head.strengths", "[.nan]"), EXIT_USAGE, "head.strengths", marks=pytest.mark.slow),
        pytest.param(("--head.grow", "[0]"), EXIT_USAGE, "head.grow", marks=pytest.mark.slow),
        pytest.param(("--data.targets", "[size, size]"), EXIT_USAGE, "a column is named twice", marks=pytest.mark.slow),
        pytest.param(
            ("--evaluate.corruptions.blur", "[-1]"), EXIT_USAGE, "evaluate.corruptions.blur", marks=pytest.mark.slow
        ),
        pytest.param(("--evaluate.slices", "[camera]"), EXIT_USAGE, "no column camera", marks=pytest.mark.slow),
        pytest.param(
            ("--finetune.rate", "1e30", "--finetune.warmup", "0.0"),
            EXIT_BROKEN,
            "lower the learning rates",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_users_mistake_is_reported_once_without_a_traceback_and_taken_back(project, arguments, code, fact):
    before = (project.root / "params.yaml").read_bytes()
    done = project.retrain(*arguments)
    assert (done.returncode, "Traceback" in done.stdout + done.stderr) == (code, False), done.stdout + done.stderr
    assert fact in done.stderr
    assert_error_is_last(done)
    has_run = "lower the learning rates" in fact  # of a stage, which the override belongs to from then on
    assert ((project.root / "params.yaml").read_bytes() == before) != has_run
    assert "RUNNING" not in statuses(project)
    assert (project.root / "data" / "finetune" / "model.safetensors").exists()


def test_an_objective_that_lacks_its_images_is_refused_before_anything_is_computed_for_it(project):
    source, good = copy_of_images(project), (project.root / "data" / "evaluate" / "metrics.json").read_bytes()
    done = project.retrain("--data.source", str(source), "--objective", "mcc")
    assert (done.returncode, "Traceback" in done.stdout + done.stderr) == (EXIT_USAGE, False), done.stdout + done.stderr
    assert "objective: " in done.stderr
    assert "unlabelled/" in done.stderr
    assert "validate" in done.stdout
    assert "augment" not in done.stdout
    assert (project.root / "data" / "evaluate" / "metrics.json").read_bytes() == good


@pytest.mark.slow
def test_data_edited_by_hand_is_neither_used_nor_lost(project):
    mine = project.root / "data" / "raw" / "train" / "bar" / "mine.png"
    drawn("bar", 5).save(mine)
    done = project.retrain()
    assert done.returncode == EXIT_BROKEN
    assert "data/raw: edited by hand" in done.stderr
    assert mine.exists()


@pytest.mark.slow
def test_an_earlier_model_can_be_the_start_of_a_search(project):
    done = project.retrain("--backbone.weights", "models:/rootstock@challenger", "--finetune.recipe", "search")
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_json(project.root / "data" / "pins.json")["init"] == "models:/rootstock/1"
    assert read_json(project.root / "data" / "evaluate" / "spec.json")["init"] == "models:/rootstock/1"
    assert project.numbers() == [1, 2]
    run = max(project.runs(), key=lambda run: run.info.start_time)
    search = SearchReport.load(project.root / "data" / "finetune" / "search.json")
    assert run.data.tags["rootstock.recipe"] == search.recipe
    assert run.data.metrics["finetune/image_passes"] == 3 * 13 * 18
    card = next(
        (project.root / ".registry" / "artifacts").rglob(f"{run.info.run_id}/artifacts/card/card.md")
    ).read_text()
    assert run.data.tags["rootstock.recipe"] in card
    assert "finetune.epochs" not in card


def test_the_data_can_be_restored_from_the_remote(project):
    for lost in ("data/raw", "data/evaluate", ".dvc/cache"):
        shutil.rmtree(project.root / lost)
    done = project.dvc("pull")
    assert done.returncode == 0, done.stdout + done.stderr
    assert json.loads(project.dvc("status", "--json").stdout) == {}
    assert (project.root / "data" / "raw" / "train" / "bar" / "0.png").exists()


@pytest.mark.slow
def test_of_two_simultaneous_runs_the_second_is_refused_with_the_reason(project):
    first = project.start("--evaluate.bins", "7")
    wait_until(lambda: holder(project.root / ".state").startswith(f"retrain (process {first.pid})"))
    second = project.retrain()
    assert second.returncode == EXIT_BROKEN
    assert f"this checkout is busy: retrain (process {first.pid})" in second.stderr
    assert first.wait(300) == 0, (project.root / "started.log").read_text()
    assert (project.numbers(), statuses(project)) == ([1, 2], ["FINISHED"] * 2)


def test_a_termination_ends_the_stage_and_closes_the_run(prepared, tmp_path):
    project = prepared.copy(tmp_path / "project")
    flow = project.start()
    stage = wait_until(lambda: project.fork("features"), 240)
    wait_until(project.runs)
    flow.send_signal(signal.SIGTERM)
    assert flow.wait(60) != 0
    wait_until(lambda: not is_alive(stage.pid), 5)
    assert statuses(project) == ["KILLED"]


def test_ctrl_c_is_answered_in_one_line_and_leaves_nothing_running(prepared, tmp_path):
    project = prepared.copy(tmp_path / "project")
    terminal = Terminal([sys.executable, "-m", "flows", "retrain"], project.root, **project.more)
    wait_until(lambda: project.fork("features"), 150)
    wait_until(project.runs)
    stage = wait_until(lambda: project.fork("finetune"))  # which takes seconds
    terminal.press(b"\x03")
    assert terminal.wait(60) == EXIT_INTERRUPTED, terminal.output
    wait_until(lambda: not is_alive(stage.pid), 5)
    lines = terminal.lines()
    assert lines[-1] == "interrupted: what was computed is kept; run the command again to go on"
    steps = [line.split()[0] for line in lines[:-1]]
    assert steps[:8] == ["source", "source", "ingest", "validate", "choose", "augment", "features", "head"], lines
    assert steps[8:] in ([], ["finetune"]), lines
    assert any("━" in frame for frame in terminal.frames())
    assert statuses(project) == ["KILLED"]


@pytest.mark.slow
def test_killed_in_its_stages_it_ends_as_if_undisturbed(prepared, finished, tmp_path):
    """Sends kill -9 to the flow in four stages: the stage is dead within two seconds, and the next run resumes.

    In the last run, DVC is killed instead: the flow ends the stage and retries it, as run.retries allows.
    """
    project = prepared.copy(tmp_path / "project")
    for stage in ("ingest", "features", "finetune", "evaluate"):
        flow = project.start("--run.retries", "1")
        process = wait_until(lambda: project.fork(stage))
        if stage == "finetune":
            wait_until(lambda: list((project.root / ".state" / "checkpoints").rglob("*.safetensors")))
        flow.kill()
        flow.wait()
        killed = time.monotonic()
        wait_until(lambda: not is_alive(process.pid), 5)
        assert time.monotonic() - killed < 2
    flow = project.start("--run.retries", "1")
    process = wait_until(lambda: project.fork(STAGES[-1]))
    project.fork("dvc repro").kill()
    wait_until(lambda: not is_alive(process.pid), 5)
    assert flow.wait(300) == 0, (project.root / "started.log").read_text()
    assert (project.root / "dvc.lock").read_text() == (finished.root / "dvc.lock").read_text()
    assert project.numbers() == [1]
    assert statuses(project) == ["FINISHED"]
    (run,) = project.runs()
    steps = [point.step for point in project.mlflow().get_metric_history(run.info.run_id, "tuned/validation_loss")]
    assert steps == [0, 3, 6, 9]


@pytest.mark.slow
def test_a_stage_that_takes_too_long_is_ended(prepared, tmp_path):
    project = prepared.copy(tmp_path / "project")
    done = project.retrain("--run.timeout", "1")
    assert done.returncode == EXIT_BROKEN
    assert "took longer than 1 seconds" in done.stderr
    assert project.fork("ingest") is None
