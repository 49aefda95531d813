from __future__ import annotations

import gc
import weakref

import pandas as pd
import pytest

from tasks.core.schema import Column
from tasks.data.checked_tables import checked
from tasks.data.expectations import check
from tasks.data.findings import sentence
from tasks.data.ingestion import COLUMNS
from tasks.data.suite import CRITICAL, WARNING, rules
from tasks.reports.validation_page import findings_page

PLACES = [(split, label) for split in ("train", "validation", "test") for label in ("ant", "bee")]


def manifest(**changes):
    """Returns a manifest of two images per split and class; `changes` are (row, value) by column."""
    rows = pd.DataFrame(
        {
            Column.PATH: [f"{split}/{label}/{n}.png" for split, label in PLACES for n in range(2)],
            Column.PIXEL_HASH: [f"{split}{label}{n}" for split, label in PLACES for n in range(2)],
            Column.WIDTH: 32,
            Column.HEIGHT: 24,
            Column.LABEL: [label for _, label in PLACES for _ in range(2)],
            Column.SPLIT: [split for split, _ in PLACES for _ in range(2)],
            Column.GROUP: [f"{split}{label}{n}" for split, label in PLACES for n in range(2)],
            Column.QUARANTINE: None,
        },
        dtype=object,
    )
    for column, cells in changes.items():
        for row, value in cells.items():
            rows.loc[row, column] = value
    return rows


def failures(rows, max_unreadable=0.0):
    """Returns the findings that failed, by title, the same for columns of objects and for those of a real manifest."""
    suite = rules(8, max_unreadable)
    findings = check(rows, suite)
    assert check(rows.astype({name: COLUMNS[name] for name in rows}), suite) == findings
    return {finding.title: finding for finding in findings if not finding.success}


def test_good_data_passes_every_rule():
    assert failures(manifest()) == {}


BROKEN = {
    Column.QUARANTINE: {3: "broken image: cut"},
    Column.WIDTH: {3: None},
    Column.HEIGHT: {3: None},
    Column.PIXEL_HASH: {3: None},
}


@pytest.mark.parametrize(
    ("changes", "title", "severity", "row"),
    [
        (BROKEN, "Every file can be read", CRITICAL, "train/bee/1.png: broken image: cut"),
        ({Column.HEIGHT: {0: 7}}, "Every image is at least 8 pixels high and wide", CRITICAL, "train/ant/0.png"),
        ({Column.LABEL: {10: "wasp"}}, "Every label is one of the training split's", CRITICAL, "test/bee/0.png"),
        (
            {Column.PIXEL_HASH: {8: "trainant0"}},
            "No picture is in two splits",
            CRITICAL,
            "test/ant/0.png: the same picture as train/ant/0.png (train)",
        ),
        ({Column.GROUP: {0: "one", 9: "one"}}, "No group is in two splits", CRITICAL, "train/ant/0.png"),
        (
            {Column.PIXEL_HASH: {2: "trainant0"}},
            "No picture has two labels",
            CRITICAL,
            "train/bee/0.png: the same picture as train/ant/0.png (train)",
        ),
        (
            {Column.SPLIT: {0: "test", 1: "test"}},
            "Every class has train images",
            CRITICAL,
            "ant: 0 train, 2 validation, 4 test",
        ),
        (
            {Column.SPLIT: {8: "train", 9: "train"}},
            "Every class has test images",
            CRITICAL,
            "ant: 4 train, 2 validation, 0 test",
        ),
        (
            {Column.SPLIT: {4: "train", 5: "train"}},
            "Every class has validation images",
            WARNING,
            "ant: 4 train, 0 validation, 2 test",
        ),
        (
            {Column.SPLIT: dict.fromkeys(range(4, 8), "train")},
            "There are images to train on, to choose on and to test on",
            CRITICAL,
            None,
        ),
    ],
)
def test_each_fault_fails_its_rule_and_names_rows(changes, title, severity, row):
    finding = failures(manifest(**changes))[title]
    assert finding.severity == severity
    assert row is None or row in finding.rows
    assert finding.remedy in sentence(finding)


def test_a_budget_allows_some_broken_files_and_still_lists_them():
    findings = {finding.title: finding for finding in check(manifest(**BROKEN), rules(8, 0.1))}
    assert findings["Every file can be read"].success
    assert findings["Every file can be read"].failed == 1


def test_unlabeled_images_need_no_label_but_may_not_be_test_images():
    rows = manifest(**{Column.SPLIT: {1: "unlabelled"}, Column.LABEL: {1: None}})
    assert failures(rows) == {}
    rows.loc[1, Column.PIXEL_HASH] = "testant0"
    assert set(failures(rows)) == {"No picture is in two splits"}


def test_the_page_is_self_contained_and_escapes_names():
    findings = failures(manifest(**{Column.PATH: {0: "train/ant/<script>.png"}, Column.HEIGHT: {0: 7}}))
    html = findings_page(list(findings.values()))
    assert "&lt;script&gt;" in html
    assert "<script" not in html
    assert "http" not in html


def test_a_group_may_contain_images_without_a_label():
    groups = {0: "one", 1: "one", 2: "one"}
    rows = manifest(**{Column.GROUP: groups, Column.SPLIT: {0: "unlabelled"}, Column.LABEL: {0: None}})
    assert "No group is in two splits" not in failures(rows)
    assert "No group is in two splits" in failures(manifest(**{Column.GROUP: groups, Column.SPLIT: {0: "test"}}))


def test_a_broken_file_is_only_broken():
    rows = manifest(**BROKEN, **{Column.GROUP: {3: "one", 4: "one", 8: "one"}})
    findings = failures(rows)
    assert findings["No group is in two splits"].rows == ("validation/ant/0.png", "test/ant/0.png")
    assert findings["Every file can be read"].rows == ("train/bee/1.png: broken image: cut",)


def test_a_group_named_after_one_of_its_pictures_is_searched_in_other_splits():
    rows = manifest(**{Column.GROUP: {8: "trainant0"}})
    assert failures(rows)["No group is in two splits"].rows == ("test/ant/0.png",)


def test_if_every_file_is_broken_there_is_nothing_to_train_on():
    broken = {name: dict.fromkeys(range(12), None) for name in (Column.PIXEL_HASH, Column.WIDTH, Column.HEIGHT)}
    rows = manifest(**broken, **{Column.QUARANTINE: dict.fromkeys(range(12), "broken image: cut")})
    assert {*failures(rows)} == {
        "There are images to train on, to choose on and to test on",
        "Every file can be read",
    }


def test_a_picture_with_one_copy_names_the_other_one():
    finding = failures(manifest(**{Column.PIXEL_HASH: {8: "trainant0"}}))["No picture is in two splits"]
    assert finding.rows[0] == "train/ant/0.png: the same picture as test/ant/0.png (test)"


def test_of_many_copies_of_a_picture_a_few_are_named():
    rows = manifest(**{Column.PIXEL_HASH: dict.fromkeys([0, 1, 4, 5, 8, 9], "same")})
    finding = failures(rows)["No picture is in two splits"]
    assert finding.failed == 6
    others = "train/ant/0.png (train), train/ant/1.png (train), validation/ant/0.png (validation)"
    assert finding.rows[-1] == f"test/ant/1.png: the same picture as {others} and 2 more"
    others = "train/ant/1.png (train), validation/ant/0.png (validation), validation/ant/1.png (validation)"
    assert finding.rows[0] == f"train/ant/0.png: the same picture as {others} and 2 more"


def test_only_columns_that_rules_are_on_are_read():
    names = [*COLUMNS, "label:ant", "target:height", "notes"]
    assert {*names} - {*checked(names)} == {
        *(Column.SHA256, Column.PERCEPTUAL_HASH, Column.MODE, Column.WEIGHT),
        "notes",
    }
    assert not failures(manifest()[checked(manifest())])


def test_one_column_is_kept_at_a_time(monkeypatch):
    real, columns, kept = pd.DataFrame.astype, [], []

    def astype(frame, kind):
        result = real(frame, kind)
        if kind is object:
            gc.collect()
            kept.append(sum(column() is not None for column in columns))
            columns.append(weakref.ref(result))
        return result

    monkeypatch.setattr(pd.DataFrame, "astype", astype)
    check(manifest(), rules(8, 0.0)[:4])
    assert len(kept) == 4
    assert max(kept) == 1


def test_splits_that_have_no_images_are_named():
    rows = manifest()
    findings = failures(rows[rows[Column.SPLIT] == "train"])
    named = set(findings["There are images to train on, to choose on and to test on"].rows)
    assert named == {"none is validation", "none is test"}
