"""Runs the scripts of the workflow's steps, and checks the workflow files against GitHub's schema."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from tests.project import ROOT, Project

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
assert WORKFLOWS, "there are no workflows to check"


@pytest.fixture
def job(finished, tmp_path) -> Project:
    """Returns a CI job's checkout, with all results computed and a remote to push to."""
    project = finished.copy(tmp_path / "project").with_venv()
    subprocess.run(["git", "init", "--quiet", "--bare", str(tmp_path / "origin.git")], check=True)
    project.git("remote", "add", "origin", str(tmp_path / "origin.git"))
    return project


@pytest.mark.parametrize(
    ("arguments", "code", "fact"),
    [
        pytest.param("", 0, "passed the gate", marks=pytest.mark.slow),
        ("--gate.floors.accuracy 1.01", 3, "was refused by the gate"),
        pytest.param("--data.source nowhere", 2, "was not made: the run broke", marks=pytest.mark.slow),
    ],
)
def test_the_job_itself_retrains_reports_and_ends_with_the_verdicts_code(job, tmp_path, arguments, code, fact):
    summary = tmp_path / "summary.md"
    github = {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_REPOSITORY": "team/repo", "GITHUB_RUN_ID": "7"}
    done = job.script("run.sh", RETRAIN_ARGS=arguments, GITHUB_SERVER_URL="https://git.example", **github)
    assert done.returncode == code, done.stdout + done.stderr
    assert fact in summary.read_text()
    assert ("| fine-tuned |" in summary.read_text()) == (code != 2)
    links = re.findall(r"https://git\.example/team/repo/raw/rootstock-reports/7/(\w+\.png)", summary.read_text())
    pictures = {file.name for file in (job.root / ".state" / "pictures").glob("*.png")}
    assert set(links) == pictures
    assert ("confusion.png" in pictures) == (code != 2)


def test_plots_are_pushed_to_a_separate_branch_and_accumulate_there(job):
    folder = job.root / ".state" / "pictures"
    assert "no pictures" in job.script("pictures.sh").stdout
    folder.mkdir()
    for number in ("1", "2", "2"):  # the last job is rerun
        (folder / f"{number}.png").write_bytes(b"picture")
        done = job.script("pictures.sh", GITHUB_RUN_ID=number)
        assert done.returncode == 0, done.stdout + done.stderr
    job.git("fetch", "--quiet", "origin")
    files = job.git("ls-tree", "-r", "--name-only", "origin/rootstock-reports").split()
    assert files == ["1/1.png", "2/1.png", "2/2.png"]
    assert job.git("status", "--porcelain", "--", "params.yaml") == ""


@pytest.mark.slow
def test_a_server_retrains_and_the_job_ends_with_its_verdicts_code(served, tmp_path):
    job = served.copy(tmp_path / "job").with_venv()
    job.more = served.env
    summary, commit = tmp_path / "summary.md", served.git("rev-parse", "HEAD").strip()
    more = {"GITHUB_STEP_SUMMARY": str(summary), "GITHUB_SHA": commit, "GITHUB_RUN_ID": "8"}
    done = job.script("trigger.sh", RETRAIN_PARAMETERS='{"evaluate": {"bins": 8}}', **more)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "passed the gate" in summary.read_text()
    assert "| fine-tuned |" in summary.read_text()
    assert (job.root / ".state" / "pictures" / "confusion.png").exists()


@pytest.mark.slow
def test_a_server_that_refuses_the_parameters_ends_the_job(served, tmp_path):
    job = served.copy(tmp_path / "job").with_venv()
    job.more = served.env
    done = job.script("trigger.sh", RETRAIN_PARAMETERS='{"finetune": {"epochs": "many"}}')
    assert done.returncode == 1, done.stdout + done.stderr


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_workflows_follow_githubs_schema(file):
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_workflow_steps_run_existing_scripts():
    text = (ROOT / ".github" / "workflows" / "retrain.yml").read_text()
    scripts = re.findall(r"run: (deploy/ci/\w+\.sh)", text)
    assert len(scripts) == 3
    assert all((ROOT / name).stat().st_mode & 0o100 for name in scripts)
