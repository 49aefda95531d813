"""Images in buckets of a real S3 server: downloaded once, then only what is new, and errors in a sentence."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from flows.sources.copies import listing
from flows.sources.images import images_of
from flows.sources.source import source_of
from tasks.core.errors import DataRefusedError, ParamsError, RootstockError
from tasks.core.files import read_json
from tasks.core.schema import TABLE
from tests.drawn import drawn, write_shapes
from tests.errors import raises
from tests.project import ROOT, environment, wait_until

PER_CLASS = 4


@pytest.fixture
def bucket(objects, monkeypatch, tmp_path):
    for name, value in objects.variables(AWS_SHARED_CREDENTIALS_FILE=str(tmp_path / "none")).items():
        monkeypatch.setenv(name, value)
    return objects.bucket()


@pytest.fixture
def shapes(tmp_path) -> Path:
    return write_shapes(tmp_path / "shapes", {"": PER_CLASS})


@pytest.fixture
def gets(objects):
    """Returns a function that returns how many objects were read since the last call."""
    last = objects.gets()

    def since() -> int:
        nonlocal last
        before, last = last, objects.gets()
        return last - before

    return since


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_folder_is_downloaded_once_and_then_only_what_is_new(bucket, shapes, params, gets):
    settings = params(data={"source": bucket.upload(shapes, "set")})
    folder = images_of(settings)
    assert contents(folder) == contents(shapes)
    assert gets() == 3 * PER_CLASS
    first = listing(folder)
    assert images_of(settings) == folder
    assert (gets(), listing(folder)) == (0, first)
    (shapes / "bar" / "new.png").write_bytes((shapes / "bar" / "0.png").read_bytes() + b"new")
    (shapes / "ring" / "1.png").write_bytes((shapes / "ring" / "0.png").read_bytes() + b"changed")
    shutil.rmtree(shapes / "disc")
    bucket.upload(shapes / "bar", "set/bar")
    bucket.upload(shapes / "ring", "set/ring")
    for number in range(PER_CLASS):
        bucket.delete(f"set/disc/{number}.png")
    gets()
    assert contents(images_of(settings)) == contents(shapes)
    assert gets() == 2
    assert sorted(path.name for path in folder.iterdir()) == ["bar", "ring"]


def test_a_file_here_that_was_changed_or_removed_comes_again(bucket, shapes, params, gets):
    settings = params(data={"source": bucket.upload(shapes, "set")})
    folder = images_of(settings)
    (folder / "bar" / "0.png").write_bytes(b"damaged")
    (folder / "bar" / "1.png").unlink()
    (folder / "bar" / "more.png").write_bytes(b"not of the server")
    gets()
    assert contents(images_of(settings)) == contents(shapes)
    assert gets() == 2
    (folder.parent / "record.sqlite").write_bytes(b"damaged" * 1000)
    for more in folder.parent.glob("record.sqlite-*"):
        more.unlink()
    assert contents(images_of(settings)) == contents(shapes)
    assert gets() == 3 * PER_CLASS


CODE = """
import sys
from pathlib import Path
from flows.sources.mirror import Mirror
from flows.sources.remote import Remote
Mirror(Remote(sys.argv[1]), Path(sys.argv[2])).update()
"""


def test_a_download_that_was_killed_goes_on_with_what_is_missing(bucket, objects, shapes, tmp_path, gets):
    number = 400
    for each in range(number):
        (shapes / "bar" / f"more{each}.png").write_bytes(b"%d" % each)
    shutil.rmtree(shapes / "disc")
    address, place = bucket.upload(shapes, "set"), tmp_path / "address-x"
    command = [sys.executable, "-c", CODE, address, str(place)]
    process = subprocess.Popen(command, cwd=ROOT, env=environment(**objects.variables()))
    wait_until(lambda: place.exists() and len(list((place / "files").rglob("*.png"))) > 40)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there, all_of_them = len(list((place / "files").rglob("*.png"))), number + 2 * PER_CLASS
    assert 40 < there < all_of_them
    gets()
    subprocess.run(command, cwd=ROOT, env=environment(**objects.variables()), check=True)
    assert contents(place / "files") == contents(shapes)
    assert all_of_them - there <= gets() <= all_of_them - there + 32, (
        "what was renamed but not yet recorded is repeated"
    )
    assert sorted(path.name for path in place.iterdir() if not path.name.startswith("record")) == ["files", "lock"]


def test_a_large_object_goes_on_where_it_was_killed(bucket, params, monkeypatch, tmp_path):
    from flows.sources import remote

    monkeypatch.setattr(remote, "CHUNK", 1000)
    content = os.urandom(10_500)
    bucket.put("set/large.bin", content)
    reader = remote.Remote(f"s3://{bucket.name}/set")
    ((_, file),) = reader.listing(blind=False).items()
    (tmp_path / "part").write_bytes(content[:7000])
    sent = []
    monkeypatch.setattr(reader._fs, "cat_file", lambda *a, cat=reader._fs.cat_file, **k: sent.append(k) or cat(*a, **k))
    reader.download(file, tmp_path / "part")
    assert (tmp_path / "part").read_bytes() == content
    assert [each["start"] for each in sent] == [7000, 8000, 9000, 10_000]


@pytest.mark.parametrize("name", ["metadata.csv", "labels.tsv"])
def test_a_table_is_read_with_the_images_of_its_folder(bucket, shapes, params, name, gets):
    rows = [(path.relative_to(shapes).as_posix(), path.parent.name) for path in sorted(shapes.rglob("*.png"))]
    separator = "\t" if name.endswith("tsv") else ","
    pd.DataFrame(rows, columns=["path", "label"]).to_csv(shapes / name, index=False, sep=separator)
    address = bucket.upload(shapes, "set")
    folder = images_of(params(data={"source": f"{address}/{name}"}))
    assert len(pd.read_parquet(folder / TABLE)) == 3 * PER_CLASS
    assert (folder / "bar" / "0.png").stat().st_nlink == 2, "the bytes are here once"
    gets()
    images_of(params(data={"source": f"{address}/{name}"}))
    assert gets() == 0


def test_a_table_at_an_address_names_no_files_outside_of_its_folder(bucket, shapes, params, tmp_path):
    (tmp_path / "secret.png").write_bytes((shapes / "bar" / "0.png").read_bytes())
    (shapes / "labels.csv").write_text(f"path,label\nbar/0.png,bar\n{tmp_path}/secret.png,bar\n")
    with raises(DataRefusedError, "table-outside"):
        images_of(params(data={"source": f"{bucket.upload(shapes, 'set')}/labels.csv"}))


def test_an_archive_is_downloaded_and_unpacked_once(bucket, shapes, params, gets):
    bucket.put("sets/shapes.zip", Path(shutil.make_archive(str(shapes), "zip", shapes)).read_bytes())
    settings = params(data={"source": f"s3://{bucket.name}/sets/shapes.zip"})
    folder = images_of(settings)
    assert contents(folder) == contents(shapes)
    assert gets() == 3, "its size and tag before and after it, which the server counts too"
    assert images_of(settings) == folder
    assert gets() == 1


def test_images_of_an_address_are_checked_as_those_of_a_folder(bucket, shapes, params):
    (shapes / "rootstock.parquet").write_bytes(b"x")
    with raises(RootstockError, "reserved-name"):
        images_of(params(data={"source": bucket.upload(shapes, "set")}))


def test_names_of_objects_that_no_file_can_have_are_refused(bucket, params, tmp_path):
    for key in ("set/bar/0.png", "set/bar/\x01.png", "set/ring", "set/ring/0.png"):
        bucket.put(key, b"content")
    with raises(DataRefusedError, "source-names") as caught:
        images_of(params(data={"source": f"s3://{bucket.name}/set"}))
    assert "'bar/\\x01.png'" in str(caught.value)
    assert "'ring' (both a file and a folder)" in str(caught.value)
    assert list(tmp_path.rglob("*.png")) == []


def test_markers_of_folders_and_hidden_objects_are_left_out(bucket, shapes, params):
    address = bucket.upload(shapes, "set")
    for key in ("set/", "set/empty/", "set/bar/.DS_Store", "set/.git/config"):
        bucket.put(key, b"" if key.endswith("/") else b"hidden")
    assert contents(images_of(params(data={"source": address}))) == contents(shapes)


def test_objects_that_change_during_the_download_are_refused_and_the_next_run_goes_on(bucket, shapes, params, gets):
    from flows.sources.mirror import Mirror

    settings = params(data={"source": bucket.upload(shapes, "set")})
    download = Mirror._download

    def disturbed(mirror, record, missing):
        download(mirror, record, missing)
        bucket.put("set/bar/0.png", b"another")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Mirror, "_download", disturbed)
        with raises(RootstockError, "source-changed"):
            images_of(settings)
    gets()
    assert contents(images_of(settings)) == contents(shapes) | {"bar/0.png": b"another"}
    assert gets() == 1


def test_what_does_not_fit_is_not_begun(bucket, shapes, params, monkeypatch, gets):
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with raises(RootstockError, "disk-full"):
        images_of(params(data={"source": bucket.upload(shapes, "set")}))
    assert gets() == 0


def test_what_cannot_be_read_is_told_in_a_sentence(bucket, shapes, params, monkeypatch):
    address = bucket.upload(shapes, "set")
    for nothing in (
        f"s3://{bucket.name}/other",
        "s3://no-such-bucket-here/set",
        f"{address}/none.zip",
        f"{address}/a.csv",
    ):
        with raises(ParamsError, "data.source") as caught:
            images_of(params(data={"source": nothing}))
        assert nothing in str(caught.value)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary5ecret-wrong")
    with raises(RootstockError, "source-denied") as caught:
        images_of(params(data={"source": address}))
    assert "AWS_PROFILE" in str(caught.value)
    assert "canary5ecret" not in str(caught.value)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with raises(RootstockError, "source-denied") as caught:
        images_of(params(data={"source": address}))
    assert "\n" not in str(caught.value)
    monkeypatch.setenv("FSSPEC_S3_ANON", "true")  # read when fsspec is imported
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "any")
    with raises(RootstockError, "source-unreachable") as caught:
        images_of(params(data={"source": address}))
    assert "check the network" in str(caught.value)


def test_a_public_bucket_is_read_without_credentials(bucket, objects, shapes, tmp_path):
    """FSSPEC_S3_ANON is read when fsspec is imported, so in a process of its own."""
    address = bucket.upload(shapes, "set")
    statement = {"Effect": "Allow", "Principal": "*", "Action": ["s3:GetObject", "s3:ListBucket"]}
    resources = [f"arn:aws:s3:::{bucket.name}", f"arn:aws:s3:::{bucket.name}/*"]
    bucket.allow({"Version": "2012-10-17", "Statement": [{**statement, "Resource": resources}]})
    variables = {name: value for name, value in objects.variables().items() if "KEY" not in name}
    variables |= {"FSSPEC_S3_ANON": "true", "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none")}
    bare = {name: value for name, value in environment().items() if not name.startswith("AWS_")}
    command = [sys.executable, "-c", CODE, address, str(tmp_path / "address-x")]
    subprocess.run(command, cwd=ROOT, env={**bare, **variables}, check=True)
    assert contents(tmp_path / "address-x" / "files") == contents(shapes)


def test_the_source_of_an_address_reads_nothing_before_it_is_asked_to(params):
    assert source_of(params(data={"source": "s3://no-such-bucket-here/set"}).data)


@pytest.mark.slow
def test_a_whole_run_embeds_only_what_is_new_in_a_bucket(bucket, objects, finished, tmp_path):
    project = finished.copy(tmp_path / "project")
    source = shutil.copytree(project.root / "data" / "raw", tmp_path / "source")
    drawn("disc", 77).save(source / "test" / "disc" / "new.png")
    project.more |= objects.variables()
    done = project.retrain("--data.source", bucket.upload(source, "set"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert read_json(project.root / ".state" / "reports" / "features.json")["report"]["embedded"] == 1
    assert len(project.versions()) == 2
