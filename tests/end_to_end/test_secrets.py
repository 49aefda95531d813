"""Credentials stay where a person put them: searched as bytes in all that a run writes, databases included."""

from __future__ import annotations

from pathlib import Path

from tests import session

WORD = "canary"  # each secret is this word with a name
RECORDS = (".registry", ".state", "data", "dvc.lock")


def secret(name: str) -> str:
    return f"{WORD}-{name}-5e4d"


def plant(root: Path) -> None:
    """Puts a secret into each place where people have them."""
    with (root / ".dvc" / "config").open("a") as file:
        file.write(f"['remote \"shared\"']\n    url = https://me:{secret('remote')}@host.invalid/dvc\n")
    local = f"['remote \"shared\"']\n    password = {secret('local')}\n"
    (root / ".dvc" / "config.local").write_text(local)
    (root / ".env").write_text(f"TOKEN={secret('environment-file')}\n")
    (root / "ignored.txt").write_text(secret("ignored"))
    with (root / "README.md").open("a") as file:
        file.write(f"git clone https://me:{secret('readme')}@host.invalid/project\n")
    with (root / "params.yaml").open("a") as file:
        file.write(f"  mine:                # once https://me:{secret('comment')}@host.invalid\n")
        file.write(f"    data.source: s3://AKIA:{secret('preset')}/a+b@bucket/images\n")


def leaks(folder: Path) -> list[str]:
    """Returns the files in which there is a secret, or a part of one."""
    files = [folder] if folder.is_file() else [path for path in folder.rglob("*") if path.is_file()]
    return [str(file) for file in files if WORD.encode() in file.read_bytes()]


def test_no_credential_is_recorded_or_shown(finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    with (project.root / ".gitignore").open("a") as file:
        file.write(".env\nignored.txt\n")
    (project.root / ".env").write_text("TOKEN=\n")
    project.git("add", "--force", ".env")
    project.commit()
    plant(project.root)
    project.more |= {"MLFLOW_TRACKING_PASSWORD": secret("variable"), "SOME_TOKEN": secret("token")}
    done = project.retrain("--evaluate.bins", "8")
    assert done.returncode == 0, done.stdout + done.stderr
    refused = [
        project.retrain("--data.source", f"https://me:{secret('source')}@host.invalid/images.zip"),
        project.retrain("--data.source", f"https://host.invalid/images.zip?X-Amz-Signature={secret('signature')}"),
        project.retrain("--teacher.weights", f"https://{secret('teacher')}@host.invalid/teacher.pth"),
    ]
    for each in (done, *refused):
        assert WORD not in each.stdout + each.stderr
    assert [each.returncode for each in refused] == [2, 2, 2]
    places = [*(project.root / name for name in RECORDS), session.FOLDER / "prefect_server"]
    assert all(place.exists() for place in places)
    assert [leak for place in places for leak in leaks(place)] == []
    differences = [*project.root.glob(".registry/artifacts/**/difference.diff")]
    assert any("git clone https://***@host.invalid/project" in file.read_text() for file in differences)
    parameters = [*project.root.glob(".registry/artifacts/**/lineage/params.yaml")]
    assert any("data.source: s3://***@bucket/images" in file.read_text() for file in parameters)
