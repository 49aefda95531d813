"""Versioning with the real DVC."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from flows.sources.copies import import_copy
from flows.stages import dvc_cli, dvc_versions
from tasks.core.errors import RootstockError
from tasks.core.files import remove, write_json
from tasks.core.schema import STAGES
from tests.errors import raises
from tests.project import ROOT


@pytest.mark.parametrize("way", ["absolute", "absolute with ..", "relative"])
def test_files_keep_their_names_however_the_source_is_written(checkout, shapes, way):
    source = {
        "absolute": shapes,
        "absolute with ..": checkout / ".." / shapes.name,
        "relative": Path("..") / shapes.name,
    }[way]
    dvc_versions.track(source, Path("data/raw"))
    copied = {str(file.relative_to(checkout / "data" / "raw")) for file in (checkout / "data" / "raw").rglob("*.png")}
    assert copied == {str(file.relative_to(shapes)) for file in shapes.rglob("*.png")}


def test_a_copy_that_was_edited_by_hand_is_not_replaced(checkout, shapes):
    target, state = Path("data/raw"), Path(".state")
    assert import_copy(shapes, target, state) == f"brought in: {shapes}"
    edited = next((checkout / "data" / "raw").rglob("*.png"))
    edited.unlink()
    with raises(RootstockError, "edited-by-hand") as caught:
        import_copy(changed(shapes), target, state)
    assert "dvc checkout --force data/raw" in str(caught.value)
    assert not edited.exists()


def changed(source, name="another"):
    """Adds a file to the source. Returns the source."""
    shutil.copy(next(source.rglob("*.png")), source / f"{name}.png")
    return source


def test_hidden_files_of_desktops_and_of_git_are_no_edit(checkout, shapes):
    """DVC reads a source without .dvcignore, but its copy with it."""
    shutil.copy(ROOT / ".dvcignore", checkout)
    for name in (".DS_Store", "train/bar/Thumbs.db", ".git/config"):
        (shapes / name).parent.mkdir(exist_ok=True)
        (shapes / name).write_text("hidden")
    target, state = Path("data/raw"), Path(".state")
    assert import_copy(shapes, target, state) == f"brought in: {shapes}"
    dvc_cli.refuse_edits(target)
    (shapes / ".DS_Store").write_text("another size")
    assert import_copy(shapes, target, state) == f"unchanged: {shapes}"


def test_files_that_a_user_tracks_with_dvc_are_ignored(checkout, shapes):
    """The user tracks a folder with DVC, and it has changed."""
    shutil.copy(ROOT / "dvc.yaml", checkout)
    shutil.copy(ROOT / "params.yaml", checkout)
    shutil.copytree(shapes, checkout / "mine")
    dvc_cli.dvc("add", "mine")
    changed(checkout / "mine")
    target = Path("data/raw")
    import_copy(shapes, target, Path(".state"))
    assert dvc_cli.outdated(target) == list(STAGES)


def test_a_source_may_be_named_like_a_folder_of_the_one_before(checkout, shapes):
    """The folder `bar` becomes the source while data/raw has a folder with this name."""
    target, state = Path("data/raw"), Path(".state")
    import_copy(shapes, target, state)
    (named,) = {path for path in shapes.rglob("bar") if path.parent.name == "test"}
    import_copy(named, target, state)
    assert listing_of(target) == listing_of(named)


def test_what_a_killed_import_left_is_replaced(checkout, shapes, monkeypatch):
    """The import is killed between the copy and its record: the first import, and a later import with a new file."""
    target, state = Path("data/raw"), Path(".state")

    def killed(source, target, **_how):
        shutil.copytree(source, target, dirs_exist_ok=True)
        raise KeyboardInterrupt

    for name in ("one", "two"):
        with monkeypatch.context() as patch:
            patch.setattr(dvc_versions, "track", killed)
            with pytest.raises(KeyboardInterrupt):
                import_copy(changed(shapes, name), target, state)
        assert import_copy(shapes, target, state) == f"brought in: {shapes}"
        assert listing_of(target) == listing_of(shapes)


@pytest.mark.parametrize("is_back", [True, False])
def test_an_image_that_is_away_during_the_copy_is_missed_until_the_next_run_only(
    checkout, shapes, monkeypatch, is_back
):
    """It is back before the copy is done, or after the command has failed."""
    target, state, image, away = Path("data/raw"), Path(".state"), next(shapes.rglob("*.png")), checkout / "away.png"
    track = dvc_versions.track

    def disturbed(source, target, **how):
        image.rename(away)
        track(source, target, **how)
        if is_back:
            away.rename(image)

    monkeypatch.setattr(dvc_versions, "track", disturbed)
    with raises(RootstockError, "source-changed"):
        import_copy(shapes, target, state)
    monkeypatch.setattr(dvc_versions, "track", track)
    if not is_back:
        away.rename(image)
    assert import_copy(shapes, target, state) == f"brought in: {shapes}"
    assert listing_of(target) == listing_of(shapes)


def test_an_image_that_vanishes_is_told_in_words(checkout, shapes, monkeypatch):
    """It is listed, and away when it is its turn."""
    copied_files = dvc_versions.copied_files
    image = next(shapes.rglob("*.png"))

    def listed(source):
        yield from (path for path in copied_files(source) if path != image)
        image.unlink(missing_ok=True)
        yield image

    monkeypatch.setattr(dvc_versions, "copied_files", listed)
    with raises(RootstockError, "source-changed") as caught:
        import_copy(shapes, Path("data/raw"), Path(".state"))
    assert image.name in str(caught.value)


def listing_of(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def test_the_place_of_the_copy_is_no_source_and_nothing_is_moved(checkout, shapes):
    target, state = Path("data/raw"), Path(".state")
    shutil.copytree(shapes, target)
    for source in (target, target / "train", Path("data")):
        with raises(RootstockError, "source-overlaps-copy"):
            import_copy(source, target, state)
    with raises(RootstockError, "copy-not-versioned"):
        import_copy(shapes, target, state)
    assert listing_of(target) == listing_of(shapes)


def test_a_copy_whose_version_is_gone_is_put_aside_and_made_again(checkout, shapes):
    """This happens when another branch is checked out."""
    target, state = Path("data/raw"), Path(".state")
    import_copy(shapes, target, state)
    dvc_cli.dvc_file(target).unlink()
    assert import_copy(shapes, target, state) == f"brought in: {shapes}"
    (aside,) = (state / "failed").iterdir()
    assert listing_of(aside) == listing_of(target) == listing_of(shapes)


def test_a_copy_whose_version_git_changed_is_put_aside_and_made_again(checkout, shapes):
    """This happens when a colleague's import is pulled without its data: nobody edited the copy."""
    target, state = Path("data/raw"), Path(".state")
    import_copy(shapes, target, state)
    file, md5 = dvc_cli.dvc_file(target), dvc_cli.tracked_md5(target)
    file.write_text(file.read_text().replace(md5, "0" * 32 + ".dir"))
    assert import_copy(shapes, target, state) == f"brought in: {shapes}"
    assert dvc_cli.tracked_md5(target) == md5
    (aside,) = (state / "failed").iterdir()
    assert listing_of(aside) == listing_of(target) == listing_of(shapes)


def stored(checkout) -> list[Path]:
    """Returns the files of DVC's cache; in folders named by the first two digits, except leftovers."""
    return [file for file in (checkout / ".dvc" / "cache").rglob("*") if file.is_file()]


def test_an_import_stores_its_bytes_once_and_leaves_the_source_as_it_is(checkout, shapes):
    """The cache has the list of the folder and each file; a changed import adds a list and the new file."""
    target, state, sources = Path("data/raw"), Path(".state"), len(list(shapes.rglob("*.png")))
    import_copy(shapes, target, state)
    assert len(stored(checkout)) == sources + 1
    assert all(file.stat().st_nlink == 2 for file in target.rglob("*.png"))
    assert all(file.stat().st_nlink == 1 and os.access(file, os.W_OK) for file in shapes.rglob("*.png"))
    (shapes / "new.png").write_bytes(b"new")
    import_copy(shapes, target, state)
    assert len(stored(checkout)) == sources + 3
    assert [file.name for file in target.parent.glob(".*")] == [".gitignore"]


def test_a_version_that_was_imported_before_comes_from_the_cache_or_the_remote(checkout, shapes, monkeypatch):
    """A new worktree has the committed version but no files, or an older committed version than the last import's."""
    target, state = Path("data/raw"), Path(".state")
    import_copy(shapes, target, state)
    dvc_cli.push()
    older, cached = dvc_versions.version_of(target), len(stored(checkout))
    import_copy(changed(shapes), target, state)
    newer = dvc_versions.version_of(target)
    monkeypatch.setattr(dvc_versions, "track", None)
    for committed, outcome in ((newer, "unchanged"), (older, "brought in")):
        remove(target)
        dvc_cli.dvc_file(target).write_text(committed)
        assert import_copy(shapes, target, state) == f"{outcome}: {shapes}"
        assert listing_of(target) == listing_of(shapes)
    assert len(stored(checkout)) == cached + 1
    dvc_cli.push()
    for folder in (target, checkout / ".dvc" / "cache"):
        remove(folder)
    assert import_copy(shapes, target, state) == f"unchanged: {shapes}"
    assert listing_of(target) == listing_of(shapes)


def test_a_version_that_is_gone_everywhere_is_imported_again(checkout, shapes):
    target, state = Path("data/raw"), Path(".state")
    import_copy(shapes, target, state)
    for folder in (target, checkout / ".dvc" / "cache"):
        remove(folder)
    assert import_copy(shapes, target, state) == f"unchanged: {shapes}"
    assert listing_of(target) == listing_of(shapes)


def test_old_leftovers_of_imports_are_removed_and_new_ones_may_be_in_use(checkout, shapes, monkeypatch):
    import_copy(shapes, Path("data/raw"), Path(".state"))
    cache = dvc_versions.cache_folder()
    folder = cache / "files" / "md5"
    old, recent = folder / ".old.tmp", next(folder.glob("??")) / ".recent.tmp"
    monkeypatch.setattr(dvc_versions, "cache_folder", lambda: cache)  # DVC may take longer than the second
    monkeypatch.setattr(dvc_versions, "LEFTOVER_SECONDS", 1.0)
    old.touch()
    time.sleep(1.1)
    recent.touch()
    assert dvc_versions.remove_leftovers() == 1
    assert (old.exists(), recent.exists()) == (False, True)


def test_an_import_that_was_killed_in_another_checkout_excuses_no_edit_here(checkout, shapes):
    target, state = Path("data/raw"), Path(".state")
    import_copy(shapes, target, state)
    next((checkout / "data" / "raw").rglob("*.png")).unlink()
    write_json(state / "source" / "raw.json", {"unfinished": "elsewhere"})
    with raises(RootstockError, "edited-by-hand"):
        import_copy(changed(shapes), target, state)


@pytest.mark.parametrize("text", ["{", "3", "outs: 3", "outs: []", "stages: 3", "\0", "outs: [{md5"])
def test_a_damaged_file_of_dvc_is_named(checkout, text):
    for name in ("dvc.lock", "data/raw.dvc"):
        (checkout / name).write_text(text)
    for read in (dvc_cli.locked_stages, lambda: dvc_cli.tracked_md5(Path("data/raw"))):
        with raises(RootstockError, "file-damaged") as caught:
            read()
        assert "git checkout" in str(caught.value)


@pytest.mark.parametrize(
    ("url", "key", "facts"),
    [
        ("gs://bucket/x", "dvc-package-missing", ["dvc-gs", "run make gcs"]),
        ("hdfs://host/x", "dvc-package-missing", ["uv pip install --python .venv/bin/python dvc-hdfs"]),
        (
            "http://me:canary5ecret@127.0.0.1:9/x",
            "dvc-remote",
            ["Connect call failed", "lost http://***@127.0.0.1:9/x"],
        ),
        ("/proc/nowhere", "dvc-remote", ["No such file or directory", "lost /proc/nowhere"]),
    ],
)
def test_a_remote_that_cannot_be_used_says_why(checkout, url, key, facts):
    (checkout / "file").write_text("content")
    dvc_versions.track(checkout / "file", Path("data/raw"))
    dvc_cli.dvc("remote", "add", "--local", "--default", "lost", url)
    with raises(dvc_cli.DvcError, key) as caught:
        dvc_cli.push()
    assert [fact for fact in facts if fact not in str(caught.value)] == []
    assert "canary" not in str(caught.value)


def test_a_source_that_does_not_fit_is_refused_and_the_copy_stays_usable(checkout, shapes, monkeypatch):
    target, state = Path("data/raw"), Path(".state")
    import_copy(shapes, target, state)
    before = sorted(target.rglob("*"))
    larger = changed(Path(shutil.copytree(shapes, shapes.with_name("larger"))))
    with pytest.MonkeyPatch.context() as patch:
        usage = shutil.disk_usage("/")
        patch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
        patch.setattr("flows.sources.copies.shares_blocks", lambda _: False)
        with raises(RootstockError, "disk-full"):
            import_copy(larger, target, state)
        assert import_copy(shapes, target, state) == f"unchanged: {shapes}"
        assert sorted(target.rglob("*")) == before
        patch.setattr("flows.sources.copies.shares_blocks", lambda _: True)
        assert import_copy(larger, target, state) == f"brought in: {larger}", "its copy needs no space"
        assert import_copy(shapes, target, state) == f"brought in: {shapes}", "from DVC's cache, by links"
