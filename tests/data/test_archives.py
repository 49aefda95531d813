from __future__ import annotations

import errno
import io
import tarfile
import zipfile

import pytest

from tasks.core.errors import DataRefusedError
from tasks.data.archives import is_archive, listed_bytes, unpack
from tests.drawn import write_shapes
from tests.errors import raises


def tar_of(file, **entries):
    """Creates a tar with entries that tarfile itself would not add: names mapped to bytes or to a prepared TarInfo."""
    with tarfile.open(file, "w:gz") as archive:
        for name, content in entries.items():
            if isinstance(content, tarfile.TarInfo):
                archive.addfile(content)
            else:
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
    return file


def link(name, target, kind=tarfile.SYMTYPE):
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, target
    return entry


@pytest.mark.parametrize("suffix", ["zip", "tar", "tar.gz", "tar.xz"])
def test_a_folder_comes_out_as_it_went_in(tmp_path, suffix):
    source = write_shapes(tmp_path / "in" / "shapes", {"train": 2, "test": 1})
    archive = tmp_path / f"shapes.{suffix}"
    names = [file.relative_to(source.parent) for file in source.rglob("*.png")]
    if suffix == "zip":
        with zipfile.ZipFile(archive, "w") as opened:
            for name in names:
                opened.write(source.parent / name, name)
    else:
        with tarfile.open(archive, "w:" + suffix.partition(".")[2]) as opened:
            opened.add(source, "shapes")
    assert is_archive(archive)
    folder = unpack(archive, tmp_path / "out", 1)
    assert folder == tmp_path / "out" / "shapes"
    assert {file.relative_to(folder.parent) for file in folder.rglob("*.png")} == set(names)


@pytest.mark.parametrize(
    ("name", "content", "key"),
    [
        ("../out.png", b"x", "archive-path"),
        ("/etc/out.png", b"x", "archive-path"),
        ("a/../../out.png", b"x", "archive-path"),
        ("..\\out.png", b"x", "archive-path"),
        ("link", link("link", "/etc/passwd"), "archive-link"),
        ("hard", link("hard", "a.png", tarfile.LNKTYPE), "archive-link"),
        ("pipe", link("pipe", "", tarfile.FIFOTYPE), "archive-link"),
    ],
)
def test_an_archive_that_reaches_outside_is_refused_and_leaves_nothing(tmp_path, name, content, key):
    archive = tar_of(tmp_path / "a.tar.gz", **{"ok.png": b"fine", name: content})
    with raises(DataRefusedError, key) as caught:
        unpack(archive, tmp_path / "in" / "out", 1)
    assert name in str(caught.value)
    assert sorted(path.name for path in tmp_path.rglob("*")) in (["a.tar.gz"], ["a.tar.gz", "in"])


def test_a_hard_link_to_an_earlier_member_is_a_copy_of_it(tmp_path):
    entries = {"a.png": b"pixels", "b.png": link("b.png", "a.png", tarfile.LNKTYPE)}
    folder = unpack(tar_of(tmp_path / "a.tar.gz", **entries), tmp_path / "out", 1)
    assert [(folder / name).read_bytes() for name in entries] == [b"pixels"] * 2
    for target in ("later.png", "../../etc/passwd", "/etc/passwd"):
        entries = {"a.png": b"x", "b.png": link("b.png", target, tarfile.LNKTYPE), "later.png": b"y"}
        with raises(DataRefusedError, "archive-link"):
            unpack(tar_of(tmp_path / "a.tar.gz", **entries), tmp_path / "none", 1)
    bomb = {"a.png": bytes(600_000), **{f"{n}.png": link(f"{n}.png", "a.png", tarfile.LNKTYPE) for n in range(9)}}
    with raises(DataRefusedError, "data.archive_limit"):
        unpack(tar_of(tmp_path / "a.tar.gz", **bomb), tmp_path / "none", 0.001)


@pytest.mark.parametrize(
    ("names", "root"),
    [
        (("a/b/cat/1.png", "a/b/dog/1.png"), "a/b"),
        (("a/b/c/cat/1.png", "a/b/c/dog/1.png", "__MACOSX/a/._1.png"), "a/b/c"),
        (("a/b/table.csv", "a/b/1.png"), "a/b"),
        (("cat/1.png", "cat/2.png"), ""),
        (("data/cat/1.png", "data/cat/2.png"), "data"),
        (("a/readme.txt", "a/cat/1.png"), "a"),
        (("a/1.png", "b/1.png"), ""),
    ],
)
def test_folders_that_hold_one_folder_only_are_passed_through(tmp_path, names, root):
    archive = tar_of(tmp_path / "a.tar.gz", **dict.fromkeys(names, b"x"))
    assert unpack(archive, tmp_path / "out", 1) == tmp_path / "out" / root


def test_links_and_ways_out_are_refused_in_zips_too(tmp_path):
    for name, mode, key in (("link", 0o120777, "archive-link"), ("../out", 0o100644, "archive-path")):
        archive = tmp_path / "a.zip"
        with zipfile.ZipFile(archive, "w") as opened:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = mode << 16
            opened.writestr(entry, "/etc/passwd")
        with raises(DataRefusedError, key):
            unpack(archive, tmp_path / "out", 1)
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", ["zip", "tar.gz"])
def test_a_bomb_is_stopped_before_it_fills_the_disk(tmp_path, suffix):
    archive = tmp_path / f"bomb.{suffix}"
    zeros = bytes(40 * 2**20)
    if suffix == "zip":
        with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as opened:
            opened.writestr("zeros.png", zeros)
    else:
        tar_of(archive, **{"zeros.png": zeros})
    assert archive.stat().st_size < 10**6
    with raises(DataRefusedError, "data.archive_limit") as caught:
        unpack(archive, tmp_path / "out", 0.01)
    assert "0.01 GiB" in str(caught.value)
    assert list(tmp_path.iterdir()) == [archive]


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_broken_archive_is_refused(tmp_path, content):
    (tmp_path / "a.zip").write_bytes(content)
    with raises(DataRefusedError, "archive-damaged"):
        unpack(tmp_path / "a.zip", tmp_path / "out", 1)


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as inner:
        inner.writestr("a.txt", "a")
    with tarfile.open(tmp_path / "t.tar", "w") as opened:
        for name in ("first", "z.zip"):
            opened.add(tmp_path / "z.zip", name)
    assert {file.name for file in unpack(tmp_path / "t.tar", tmp_path / "out", 1).iterdir()} == {"first", "z.zip"}


def test_an_archive_with_an_entry_that_names_nothing_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as opened:
        opened.writestr(".", "x")
    with raises(DataRefusedError, "archive-path"):
        unpack(tmp_path / "a.zip", tmp_path / "out", 1)


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz", ""])
def test_a_tar_that_was_cut_off_or_damaged_is_refused_and_never_taken_in_part(tmp_path, kind):
    source = write_shapes(tmp_path / "in" / "shapes", {"train": 3})
    archive = tmp_path / f"a.tar.{kind}".rstrip(".")
    with tarfile.open(archive, f"w:{kind}") as opened:
        opened.add(source, "shapes")
        end = opened.offset
    content = archive.read_bytes()
    length = len(content) if kind else end
    damaged = [content[: length * tenth // 10] for tenth in range(1, 10)]
    if kind:  # without compression, only headers have checksums
        places = [length * tenth // 10 for tenth in range(1, 10)]
        damaged += [content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :] for at in places]
    for number, broken in enumerate(damaged):
        archive.write_bytes(broken)
        with raises(DataRefusedError, "archive-damaged"):
            unpack(archive, tmp_path / f"out-{number}", 1)
        assert not (tmp_path / f"out-{number}").exists()


def test_a_disk_that_is_full_is_no_damage(tmp_path, monkeypatch):
    archive = tmp_path / "shapes.zip"
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("a/0.png", b"12345")
        opened.writestr("b/0.png", b"67")
    assert listed_bytes(archive) == 7
    assert listed_bytes(tar_of(tmp_path / "some.tar.gz", **{"a/0.png": b"12345"})) == 0
    (tmp_path / "damaged.zip").write_bytes(archive.read_bytes()[:40])
    assert listed_bytes(tmp_path / "damaged.zip") == 0

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tasks.data.archives._write", full)
    with pytest.raises(OSError, match="No space left"):
        unpack(archive, tmp_path / "out", 1)
    assert not list(tmp_path.glob("*out*"))
