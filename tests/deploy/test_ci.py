"""Runs the scripts of the workflow's steps, and checks the workflow files against GitHub's schema."""

from __future__ import annotations

import base64
import re
import shutil
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from ruamel.yaml import YAML

from tests.project import ROOT, Project, run_python

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


def jobs_of(file):
    return YAML(typ="safe").load(file)["jobs"]


ACTION = re.compile(r"^\s+-? ?uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")
WRITES = "write"


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_actions_are_pinned_by_commit_with_their_version(file):
    lines = [line for line in file.read_text().splitlines() if "uses:" in line]
    assert len(lines) == sum("uses" in step for job in jobs_of(file).values() for step in job["steps"]) > 0
    assert [line for line in lines if not ACTION.match(line)] == []


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_each_job_has_its_permissions_and_no_checkout_keeps_credentials(file):
    workflow = YAML(typ="safe").load(file)
    assert workflow["permissions"] == {}
    assert "pull_request_target" not in workflow["on"]
    assert "env" not in workflow
    for job in workflow["jobs"].values():
        assert set(job["permissions"].values()) in ({"read"}, {WRITES})
        assert len(job["permissions"]) == 1
        checkouts = [step for step in job["steps"] if step.get("uses", "").startswith("actions/checkout@")]
        assert all(step["with"]["persist-credentials"] is False for step in checkouts)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_job_that_may_write_runs_nothing_of_a_pull_request(file):
    """It checks out the default branch, and puts the results of other jobs where they replace no script."""
    for job in jobs_of(file).values():
        if WRITES not in job["permissions"].values():
            continue
        for step in job["steps"]:
            action, options = step.get("uses", "run").partition("@")[0], step.get("with", {})
            assert action in {"actions/checkout", "actions/download-artifact", "run"}
            if action == "actions/checkout":
                assert options["ref"] == "${{ github.event.repository.default_branch }}"
            if action == "actions/download-artifact":
                assert options["path"].startswith("${{ runner.temp }}/")
            assert step.get("run", "deploy/ci/pictures.sh").startswith(("deploy/ci/pictures.sh", "gh pr comment "))


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_no_command_holds_an_expression_and_secrets_reach_single_steps_only(file):
    for job in jobs_of(file).values():
        assert not re.search(r"secrets\.|github\.token", str(job.get("env", {})))
        assert [step["run"] for step in job["steps"] if "${{" in step.get("run", "")] == []


class Recorder(BaseHTTPRequestHandler):
    """A server without repositories, which keeps the credentials that it gets."""

    def do_GET(self):
        self.server.credentials.append(self.headers["Authorization"])
        self.send_error(404)

    def log_message(self, *_what):
        pass


def test_a_token_to_push_reaches_the_server_and_no_file(tmp_path):
    project, token = Project(tmp_path / "project"), "canary5ecret"
    (project.root / "deploy" / "ci").mkdir(parents=True)
    (project.root / ".state" / "pictures").mkdir(parents=True)
    (project.root / ".state" / "pictures" / "1.png").write_bytes(b"picture")
    shutil.copy(ROOT / "deploy" / "ci" / "pictures.sh", project.root / "deploy" / "ci")
    project.git("init", "--quiet")
    project.git("commit", "--quiet", "--allow-empty", "-m", "a state")
    server = HTTPServer(("127.0.0.1", 0), Recorder)
    server.credentials = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    project.git("remote", "add", "origin", f"http://127.0.0.1:{server.server_port}/x.git")
    url = f"http://127.0.0.1:{server.server_port}"
    done = project.script("pictures.sh", PUSH_TOKEN=token, GITHUB_SERVER_URL=url)
    server.shutdown()
    server.server_close()
    assert done.returncode != 0
    basic = base64.b64encode(f"x-access-token:{token}".encode()).decode()
    assert set(server.credentials) == {f"Basic {basic}"}
    assert token not in done.stdout + done.stderr + (project.root / ".git" / "config").read_text()


@pytest.mark.parametrize("address", ["", "http://127.0.0.1:9/api"])
def test_without_a_server_the_trigger_says_so_in_one_sentence(address):
    done = run_python(ROOT, "-m", "deploy.server", PREFECT_API_URL=address)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("error: PREFECT_API_URL")
    assert done.stderr.count("\n") == 1


def test_workflow_steps_run_existing_scripts():
    text = (ROOT / ".github" / "workflows" / "retrain.yml").read_text()
    scripts = re.findall(r"run: (deploy/ci/\w+\.sh)", text)
    assert len(scripts) == 3
    assert all((ROOT / name).stat().st_mode & 0o100 for name in scripts)
