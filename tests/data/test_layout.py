from __future__ import annotations

import unicodedata
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.errors import DataRefusedError
from tasks.core.schema import Column, FolderClasses
from tasks.data.class_folders import LAYOUT
from tasks.data.layout import read_layout, similar_labels
from tasks.data.split_words import split_in, without_split
from tests.errors import raises


def read(*folders, classes=FolderClasses.AUTO):
    """Returns the label and the split of an image in each folder, as text, and the notes."""
    layout = read_layout([f"{folder}/1.jpg" for folder in folders], classes)
    return [f"{label} {split}" for label, split in layout.rows.itertuples(index=False)], " ".join(layout.notes)


TWO = ("a train", "b train", "a test", "b test")


@pytest.mark.parametrize(
    "names",
    [
        ("training_set", "test_set"),
        ("train_images", "test_images"),
        ("seg_train", "seg_test"),
        ("train-set", "test-set"),
        ("TRAIN", "TEST"),
        ("train2017", "test2017"),
        ("TrainImages", "TestImages"),
        ("trainset", "testset"),
        ("asl_alphabet_train", "asl_alphabet_test"),
        ("train", "evaluation"),
        ("train", "eval"),
        ("training", "holdout"),
        ("training data", "hold-out data"),
        ("train_split", "test_split"),
        ("1. train", "2. test"),
        ("train", "test"),
        ("train/train", "test/test"),
        ("seg_train/seg_train", "seg_test/seg_test"),
        ("archive/seg_train/seg_train", "archive/seg_test/seg_test"),
        ("train/data/images", "test/data/images"),
        ("data/v1/raw/Training", "data/v1/raw/Testing"),
    ],
)
def test_splits_are_recognized_in_the_names_of_folders(names):
    train, test = names
    assert read(f"{train}/a", f"{train}/b", f"{test}/a", f"{test}/b")[0] == list(TWO)


@pytest.mark.parametrize("name", ["val", "valid", "validation_data", "dev", "dev-set", "VAL_images", "my_valid_set"])
def test_validation_has_many_names(name):
    rows, _ = read("train/a", "train/b", f"{name}/a")
    assert rows[-1] == "a validation"


def test_what_a_name_means_is_said():
    rows, notes = read("seg_train/seg_train/a", "seg_train/seg_train/b", "seg_test/seg_test/a", "seg_pred/seg_pred")
    assert rows == ["a train", "b train", "a test", "None unlabelled"]
    assert "seg_pred is unlabelled, seg_test is test, seg_train is train" in notes
    assert "seg_train/seg_train" in notes
    assert read("train/a", "train/b", "test/a")[1] == ""


@pytest.mark.parametrize(
    "names",
    [
        ("train", "car", "boat"),
        ("cat", "train"),
        ("test", "other"),
        ("train_station", "airport"),
        ("train_station/inside", "train_station/outside", "test_tube/full", "test_tube/empty"),
        ("test_pass", "test_fail"),
        ("evaluation_board", "training_shoes"),
        ("train_test", "other"),
        ("contrain", "latest"),
    ],
)
def test_a_class_may_be_named_like_a_split(names):
    rows, _ = read(*names)
    assert rows == [f"{name.split('/')[0]} None" for name in names]


@pytest.mark.parametrize("test", ["test", "test_images", "test/images", "testing/unsorted"])
def test_a_test_folder_without_class_folders_is_unlabeled(test):
    rows, notes = read("train/a", "train/b", test)
    assert rows == ["a train", "b train", "None unlabelled"]
    assert f"warning: {test.split('/')[0]} has no class folders" in notes


@pytest.mark.parametrize("root", ["dataset", "a/b/c", "my photos/2024", "train", "test_data"])
def test_single_folders_around_the_classes_are_passed_through_at_any_depth(root):
    rows, notes = read(f"{root}/ant", f"{root}/bee")
    assert rows == ["ant None", "bee None"]
    assert f"the folder {root} holds all images" in notes


def test_a_single_class_is_not_passed_through():
    assert read("cat")[0] == ["cat None"]
    assert read("dataset/cat")[0] == ["cat None"]


def test_unlabelled_images_may_stand_beside_class_folders():
    expected = ["None unlabelled", "None unlabelled", "ant None", "bee None"]
    assert read("unlabelled", "unlabelled/sub", "ant", "bee")[0] == expected
    assert read("all/unlabeled", "all/unlabeled/sub", "all/ant", "all/bee")[0] == expected


def test_sub_folders_of_classes_are_named_with_the_parameter_that_uses_them():
    folders = ("animal/animal1", "animal/animal2", "plant/plant1", "plant/plant2")
    rows, notes = read(*folders)
    assert rows == ["animal None", "animal None", "plant None", "plant None"]
    assert "animal (animal1, animal2), plant (plant1, plant2)" in notes
    assert "ingest.classes: subfolders" in notes
    assert read(*folders, classes=FolderClasses.FOLDERS) == (rows, "")
    assert read(*folders, classes=FolderClasses.SUBFOLDERS) == (
        ["animal1 None", "animal2 None", "plant1 None", "plant2 None"],
        "",
    )
    many = [f"animal/{number}" for number in range(9)]
    assert "animal (0, 1, 2 ...)" in read(*many, "plant/x", "plant/y")[1]
    assert read("cat/images", "dog/images")[1] == ""


def test_sub_folders_may_be_classes_inside_of_splits():
    folders = ("train/animal/cat", "train/animal/dog", "test/animal/cat")
    assert "animal (cat, dog)" not in read(*folders)[1], "a single folder is passed through"
    folders = ("train/animal/cat", "train/plant/oak", "train/plant/elm", "test/animal/cat")
    assert read(*folders)[0] == ["animal train", "plant train", "plant train", "animal test"]
    rows, _ = read(*folders, classes=FolderClasses.SUBFOLDERS)
    assert rows == ["cat train", "oak train", "elm train", "cat test"]


@pytest.mark.parametrize("tops", [("amazon", "webcam"), ("part1", "part2", "part3"), ("cats", "dogs"), ("A", "B")])
def test_top_folders_with_the_same_folders_are_refused_with_the_question(tops):
    folders = [f"{top}/{name}" for top in tops for name in ("bike", "mug", "lamp")]
    with raises(DataRefusedError, "ingest.classes") as caught:
        read(*folders)
    assert all(name in str(caught.value) for name in (*tops, "splits", "subfolders"))
    assert read(*folders, classes=FolderClasses.SUBFOLDERS)[0] == ["bike None", "mug None", "lamp None"] * len(tops)
    assert read(*folders, classes=FolderClasses.FOLDERS)[0] == [f"{top} None" for top in tops for _ in range(3)]


@pytest.mark.parametrize(
    "paths",
    [
        ["a.jpg"],
        ["ant/a.jpg", "b.jpg"],
        ["train/a.jpg", "test/ant/b.jpg"],
        ["train/ant/a.jpg", "ant/b.jpg"],
        ["val/ant/a.jpg", "test/ant/b.jpg"],
        ["train/ant/a.jpg", "test/ant/b.jpg", "test/c.jpg"],
        ["train/a.jpg", "test/b.jpg"],
        ["train_images/a.jpg", "test_images/b.jpg"],
        [" /a.jpg", "ant/b.jpg"],
    ],
)
def test_other_layouts_are_refused_with_the_layouts_that_are_not(paths):
    with raises(DataRefusedError, "folder-layout") as caught:
        read_layout(paths)
    assert LAYOUT in str(caught.value)


def test_splits_in_the_names_of_classes_are_refused_with_the_remedy():
    with raises(DataRefusedError, "folder-layout") as caught:
        read("train_cats", "train_dogs", "test_cats", "test_dogs")
    assert "train/cats" in str(caught.value)


def test_labels_are_stripped_and_composed():
    decomposed = unicodedata.normalize("NFD", "café")
    assert read("café", decomposed, " cat ", "cat")[0] == ["café None", "café None", "cat None", "cat None"]


def test_labels_that_look_alike_are_named_with_their_blanks():
    assert similar_labels(["cat", "dog", "Dogs"]) == []
    (warning,) = similar_labels(["Cat", "cat", "ice cream", "ice_cream", "ice  cream", "STRASSE", "straße"])
    assert "'Cat' and 'cat'" in warning
    assert "'ice  cream' and 'ice cream' and 'ice_cream'" in warning
    assert "'STRASSE' and 'straße'" in warning


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=9)


@given(st.lists(st.lists(NAMES.filter(lambda name: name not in {".", ".."}), min_size=1, max_size=4), min_size=1))
def test_any_folders_give_a_row_an_image_or_are_refused_in_words(folders):
    paths = ["/".join([*parts, "1.jpg"]) for parts in folders]
    with suppress(DataRefusedError):
        labels = read_layout(paths).rows[Column.LABEL]
        assert len(labels) == len(folders)
        assert all(label == label.strip() != "" for label in labels.dropna())


@given(NAMES)
def test_a_name_has_one_meaning_in_every_case(name):
    lower = name.lower()
    assert split_in(lower) in {None, split_in(f"{lower}/")}
    assert without_split(f"{lower} train") == without_split(lower)
