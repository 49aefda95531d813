"""DVC's remote and MLflow's artifacts in buckets of a real S3 server, and imports from one."""

from __future__ import annotations

from pathlib import Path

import pytest
from mlflow import MlflowClient

from flows.sources.copies import import_copy
from flows.sources.images import images_of
from flows.stages import dvc_cli, dvc_versions
from tasks.core.files import remove
from tests.drawn import write_shapes
from tests.errors import raises
from tests.project import ROOT, Project, run_python


@pytest.fixture
def bucket(objects, monkeypatch):
    for name, value in objects.variables().items():
        monkeypatch.setenv(name, value)
    return objects.bucket()


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_what_was_pushed_is_pulled_into_a_clone(bucket, checkout, tmp_path, monkeypatch):
    shapes = write_shapes(tmp_path / "images", {"": 3})
    dvc_cli.dvc("remote", "add", "--default", "bucket", f"s3://{bucket.name}/dvc")
    dvc_versions.track(shapes, Path("data/raw"))
    dvc_cli.push()
    clone = tmp_path / "clone"
    Project(checkout).git("add", ".")
    Project(checkout).git("commit", "--quiet", "-m", "Images")
    Project(checkout).git("clone", "--quiet", str(checkout), str(clone))
    monkeypatch.chdir(clone)
    dvc_cli.dvc("pull")
    assert contents(clone / "data" / "raw") == contents(shapes)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary5ecret-wrong")
    remove(clone / ".dvc" / "cache")
    with raises(dvc_cli.DvcError, "dvc-remote") as caught:
        dvc_cli.dvc("fetch")
    assert f"s3://{bucket.name}/dvc" in str(caught.value)
    assert "canary5ecret" not in str(caught.value)


def test_an_import_stores_the_bytes_of_an_address_once(bucket, checkout, params, tmp_path, objects):
    """The download, DVC's cache and the copy are one file; what the cache has is not downloaded again."""
    shapes = write_shapes(tmp_path / "images", {"": 3})
    address, state, target = bucket.upload(shapes, "set"), Path(".state"), Path("data/raw")
    settings = params(data={"source": address})
    assert import_copy(images_of(settings), target, state, address) == f"brought in: {address}"
    assert {file.stat().st_nlink for file in target.rglob("*.png")} == {3}
    assert import_copy(images_of(settings), target, state, address) == f"unchanged: {address}"
    remove(state)
    before = objects.gets()
    assert import_copy(images_of(settings), target, state, address) == f"unchanged: {address}"
    assert objects.gets() == before
    assert contents(target) == contents(shapes)
    dvc_cli.refuse_edits(target)


def test_a_damaged_object_of_the_cache_is_not_taken_for_the_content(bucket, checkout, params, tmp_path):
    shapes = write_shapes(tmp_path / "images", {"": 1})
    settings = params(data={"source": bucket.upload(shapes, "set")})
    import_copy(images_of(settings), Path("data/raw"), Path(".state"))
    for copy in Path("data/raw").rglob("*.png"):
        copy.chmod(0o644)
        copy.write_bytes(bytes(copy.stat().st_size))
    remove(Path(".state"))
    assert contents(images_of(settings)) == contents(shapes)


def test_artifacts_of_mlflow_are_stored_listed_read_and_removed(bucket, tmp_path):
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    client = MlflowClient(f"sqlite:///{tmp_path}/mlflow.db")
    experiment = client.create_experiment("s3", artifact_location=f"s3://{bucket.name}/mlflow")
    run = client.create_run(experiment).info
    client.log_text(run.run_id, "content", "folder/file.txt")
    place = Path(client.download_artifacts(run.run_id, "folder", str(tmp_path)))
    assert contents(place) == {"file.txt": b"content"}
    get_artifact_repository(run.artifact_uri).delete_artifacts()
    assert client.list_artifacts(run.run_id, "folder") == []


def test_a_command_with_a_missing_group_ends_in_a_sentence(tmp_path):
    """The address is of Google, whose package tests do not install."""
    done = run_python(ROOT, "-c", "from flows.sources.names import check_source; check_source('gs://bucket/x')")
    assert "needs the package gcsfs; run make gcs" in done.stderr
