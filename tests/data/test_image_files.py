from __future__ import annotations

import hashlib

import pytest
from PIL import Image

from tasks.core.errors import RootstockError
from tasks.core.schema import Column
from tasks.data.file_facts import facts_of_files as facts
from tasks.data.image_facts import perceptual_hash, pixel_hash
from tasks.data.image_files import find, refuse_unusable
from tests.drawn import drawn
from tests.errors import raises


@pytest.fixture
def folder(tmp_path):
    picture = drawn("disc", 0)
    (tmp_path / "disc").mkdir()
    picture.save(tmp_path / "disc" / "a.png")
    picture.save(tmp_path / "disc" / "b.bmp")
    picture.convert("L").save(tmp_path / "disc" / "grey.PNG")
    (tmp_path / "disc" / "cut.png").write_bytes((tmp_path / "disc" / "a.png").read_bytes()[:700])
    (tmp_path / "disc" / "text.jpg").write_text("no image")
    (tmp_path / "disc" / "empty.gif").touch()
    (tmp_path / "disc" / ".DS_Store").touch()
    (tmp_path / "notes.txt").write_text("about")
    return tmp_path


def test_images_others_and_hidden_files_are_distinguished(folder):
    images, others, litter = find(folder)
    assert images == [f"disc/{name}" for name in ("a.png", "b.bmp", "cut.png", "empty.gif", "grey.PNG", "text.jpg")]
    assert others == ["notes.txt"]
    assert litter == ["disc/.DS_Store"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        *(("a.jfif", "JPEG"), ("a.jpe", "JPEG"), ("a.pjpeg", "JPEG"), ("A.JPG_original", "JPEG"), ("a", "JPEG")),
        *(("a.apng", "PNG"), ("a.dib", "DIB"), ("a.avif", "AVIF"), ("a.jp2", "JPEG2000"), ("a.pnm", "PPM")),
        *(("a.tga", "TGA"), ("a.txt", "PNG"), ("a.jpg.1", "WEBP"), ("a.data", "GIF"), ("0001", "TIFF"), ("b", "BMP")),
    ],
)
def test_images_are_listed_by_content_and_read_whatever_their_suffix(tmp_path, name, kind):
    (tmp_path / "c").mkdir()
    drawn("disc", 0).save(tmp_path / "c" / name, kind)
    assert find(tmp_path).images == [f"c/{name}"]
    row = next(facts(tmp_path, [f"c/{name}"], {}))
    assert (row[Column.WIDTH], row.get(Column.QUARANTINE)) == (32, None)


def test_what_cannot_be_read_is_refused_by_name_and_what_is_no_image_is_skipped(tmp_path):
    (tmp_path / "c").mkdir()
    texts = {"c/a.heic": b"\0\0\0\x18ftypheic", "c/b": b"\xff\x0a", "c/c.nef": b"II*\0", "c/d.pdf": b"%PDF-1.7"}
    texts |= {"c/e.jpg": b"version https://git-lfs.github.com/spec/v1", "c/f": b"8BPS", "c/g.svg": b"<svg>"}
    others = {"README.pdf": b"%PDF-", "c/g.txt": b"P3 is a text", "c/h": b"BM is a text"}
    others |= {"c/i.json": b"{}", "c/j": b"", "c/k.xmp": b"<x:xmpmeta/>", "c/l.zip": b"PK\3\4"}
    others |= {"c/clip.mp4": b"\0\0\0\x18ftypisom"}
    for name, content in (texts | others).items():
        (tmp_path / name).write_bytes(content)
    assert find(tmp_path) == (sorted(texts), sorted(others), [])
    rows = facts(tmp_path, sorted(texts), {})
    assert all(row[Column.QUARANTINE] for row in rows)


@pytest.mark.parametrize(
    "name",
    [
        *("@eaDir/1.jpg/SYNOPHOTO_THUMB_SM.jpg", "#recycle/1.jpg", "c/$RECYCLE.BIN/1.jpg", "lost+found/1.jpg"),
        *("c/.thumbnails/1.jpg", "__pycache__/1.jpg", "__MACOSX/c/1.jpg", "c/Thumbs.db", "c/desktop.ini"),
        *("c/THUMBS.DB", "Desktop.ini", ".DS_Store", "c/ehthumbs.db"),
    ],
)
def test_files_of_systems_and_programs_are_litter(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    drawn("disc", 0).save(tmp_path / name, "JPEG")
    assert find(tmp_path) == ([], [], [name])


def test_each_file_that_is_not_hidden_is_listed_once(folder):
    (folder / "@eaDir").mkdir()
    (folder / "@eaDir" / "a.png").touch()
    listing = find(folder)
    listed = [file for files in listing for file in files]
    assert sorted(listed) == sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("size", [(1, 5_000_000), (5_000_000, 1), (3, 300_000)])
def test_the_perceptual_hash_of_a_strip_widens_no_more_than_a_part_of_it(size, monkeypatch):
    sizes, real = [], Image.Image.resize

    def resize(image, size, *more):
        sizes.append((image.size, size))
        return real(image, size, *more)

    monkeypatch.setattr(Image.Image, "resize", resize)
    assert perceptual_hash(Image.new("RGB", size)) == perceptual_hash(Image.new("RGB", (9, 9)))
    assert max(max(before) for before, _ in sizes[1:]) <= 4096
    assert sizes[0][1] == tuple(min(side, 4096) for side in size)


def test_the_pixel_hash_is_of_all_rows():
    tall = Image.new("RGB", (1, 3000))
    hashes = [pixel_hash(tall)]
    for row in (0, 1023, 1024, 2999):
        tall.putpixel((0, row), (1, 2, 3))
        hashes.append(pixel_hash(tall))
    assert len(set(hashes)) == len(hashes)
    assert hashes[-1] == hashlib.sha256(b"1x3000:" + tall.tobytes()).hexdigest()


def test_facts_of_good_and_broken_files(folder):
    rows = {row[Column.PATH]: row for row in facts(folder, find(folder).images, {})}
    good, same, grey = (rows[f"disc/{name}"] for name in ("a.png", "b.bmp", "grey.PNG"))
    assert good[Column.PIXEL_HASH] == same[Column.PIXEL_HASH] != grey[Column.PIXEL_HASH]
    assert good[Column.SHA256] != same[Column.SHA256]
    assert (good[Column.WIDTH], good[Column.HEIGHT], good[Column.MODE], grey[Column.MODE]) == (32, 32, "RGB", "L")
    assert Column.QUARANTINE not in good
    for name in ("cut.png", "text.jpg", "empty.gif"):
        assert rows[f"disc/{name}"][Column.QUARANTINE]
        assert Column.PIXEL_HASH not in rows[f"disc/{name}"]


def test_perceptual_hashes_of_similar_images_are_close(folder, tmp_path):
    drawn("disc", 0).resize((64, 64)).save(tmp_path / "disc" / "large.png")
    rows = {row[Column.PATH]: row for row in facts(folder, ["disc/a.png", "disc/large.png"], {})}
    first, second = (int(rows[f"disc/{name}.png"][Column.PERCEPTUAL_HASH], 16) for name in ("a", "large"))
    assert (first ^ second).bit_count() <= 8


def test_the_size_is_part_of_the_pixel_hash():
    assert pixel_hash(Image.new("RGB", (2, 8))) != pixel_hash(Image.new("RGB", (4, 4)))


def test_files_that_would_be_skipped_are_refused(folder, monkeypatch):
    (folder / "disc" / "gone.png").symlink_to(folder / "nowhere.png")
    with raises(RootstockError, "broken-link") as caught:
        refuse_unusable(folder, "source", hidden=False)
    assert str(caught.value).startswith("source: ")
    assert "disc/gone.png" in str(caught.value)
    (folder / "disc" / "gone.png").unlink()
    refuse_unusable(folder, "source", hidden=False)
    monkeypatch.setattr("tasks.data.image_files.os.access", lambda path, _how: path.name != "disc")
    with raises(RootstockError, "folder-unreadable") as caught:
        refuse_unusable(folder, "source", hidden=False)
    assert str(folder / "disc") in str(caught.value)
