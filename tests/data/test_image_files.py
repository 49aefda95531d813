from __future__ import annotations

import pytest
from PIL import Image

from tasks.core.errors import RootstockError
from tasks.core.schema import Column
from tasks.data.image_files import facts, find, pixel_hash, refuse_unusable
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
    images, others = find(folder)
    assert images == [f"disc/{name}" for name in ("a.png", "b.bmp", "cut.png", "empty.gif", "grey.PNG", "text.jpg")]
    assert others == ["notes.txt"]


def test_facts_of_good_and_broken_files(folder):
    rows = {row[Column.PATH]: row for row in facts(folder, find(folder)[0], {})}
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
