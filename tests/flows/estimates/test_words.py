from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from flows.estimates import present as presents
from flows.estimates import room, words
from flows.estimates.present import Present
from tasks.core.disk import size
from tasks.core.errors import RootstockError
from tasks.core.schema import STAGES
from tests.errors import raises
from tests.flows.estimates.test_estimate import COUNTS, MEASURED, SETTING, sizing, took

NOW = Present(COUNTS, sizing(), SETTING, MEASURED)
MANY = replace(NOW, counts=COUNTS.scaled_to(1_000_000))


@pytest.mark.parametrize(("seconds", "text"), [(3.2, "3 s"), (90, "1.5 min"), (5400, "1.5 h"), (10**6, "11.6 days")])
def test_durations_are_readable(seconds, text):
    assert words.duration(seconds) == text


def test_only_a_long_run_is_announced():
    assert words.long_run(NOW, STAGES) is None
    line = words.long_run(MANY, STAGES)
    assert "1,000,000 images" in line
    assert "estimated" in line
    run = MANY.estimate()
    assert f"{size(max(run.memory.values()))} of memory (finetune)" in line
    assert f"{size(sum(run.disk.values()) - run.disk['images'])} of new files" in line
    assert f"{size(run.disk['networks'])} of new files" in words.long_run(MANY, ["finetune"])
    stored = replace(MANY, measured={**MEASURED, "evaluate": took("evaluate", done=1, peak_mib=9000.0)})
    assert "of memory (evaluate)" in words.long_run(stored, STAGES), "its seconds are not estimated"
    assert words.long_run(MANY, ["choose"]) is None, "it looks at a sample"
    assert words.long_run(MANY, []) is None


def test_what_breaks_first_is_named_with_a_remedy(tmp_path, monkeypatch):
    later = MANY.estimate(10)
    monkeypatch.setattr(words, "available_bytes", lambda: 2**50)
    usage = shutil.disk_usage("/")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**50))
    assert words.first_to_break(NOW.estimate(), later, tmp_path) == "estimated to fit into memory and disk"
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=2**30))
    assert "make prune" in words.first_to_break(NOW.estimate(), later, tmp_path)
    monkeypatch.setattr(words, "available_bytes", lambda: 2**30)
    text = words.first_to_break(NOW.estimate(), later, tmp_path)
    assert "memory: validate needs" in text
    assert "disk:" in text


def test_a_stage_that_certainly_does_not_fit_is_refused_and_others_are_not_asked(monkeypatch):
    monkeypatch.setattr(room, "total_bytes", lambda: 2**28)
    monkeypatch.setattr(room, "swap_bytes", lambda: 0)
    room.refuse_too_large(NOW, STAGES)
    with raises(RootstockError, "memory-full") as caught:
        room.refuse_too_large(MANY, ["features", "evaluate"])
    assert "evaluate holds at least" in str(caught.value)
    room.refuse_too_large(MANY, ["features"])
    monkeypatch.setattr(room, "swap_bytes", lambda: 2**40)
    room.refuse_too_large(MANY, STAGES)


def test_the_rows_say_what_was_measured_and_what_is_estimated(paths, monkeypatch):
    assert [*words.rows(paths)] == [words.UNMEASURED]
    monkeypatch.setattr(words, "present", lambda _: NOW)
    measured, estimated, fits = words.rows(paths)
    assert measured.startswith("1,797 images, measured: 1.3 min (")
    assert "not measured" not in measured
    assert estimated.startswith("17,970 images, estimated")
    assert fits.startswith("17,970 images, estimated")
    monkeypatch.setattr(words, "present", lambda _: replace(NOW, measured={"evaluate": MEASURED["evaluate"]}))
    assert "not measured yet: ingest, validate" in next(words.rows(paths))


@pytest.mark.parametrize("damaged", ["manifest", "task", "choice"])
def test_a_damaged_file_is_no_error_of_an_estimate(paths, monkeypatch, damaged):
    """A run computes or restores it."""
    deps = {"ingest": {"deps": [{"path": "data/raw", "nfiles": 9, "size": 999}]}}
    monkeypatch.setattr(presents, "locked_stages", lambda: deps)
    monkeypatch.setattr(presents, "tracked", lambda _: deps["ingest"]["deps"][0])
    for file in (paths.manifest, paths.task, paths.choice):
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("{}")
    getattr(paths, damaged).write_text("half a fi")
    assert presents.present(paths) is None
