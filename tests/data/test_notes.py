from __future__ import annotations

import pyarrow as pa

from tasks.core.schema import Column
from tasks.data.facts_cache import table_of
from tasks.data.image_facts import PEAK
from tasks.data.image_files import Listing
from tasks.data.notes import left_out, notes_on_gray, reasons
from tasks.scorer.decode import Decoding


def peaks(*values: int | None) -> pa.Table:
    return table_of({Column.PATH: f"{number}.tif", PEAK: value} for number, value in enumerate(values))


def test_files_that_were_left_out_are_counted_by_kind():
    others, litter = ["a.txt", "b/c.TXT", "b/README"], ["c/@eaDir/1/a.jpg", "@eaDir/b.jpg", "c/Thumbs.db"]
    assert list(left_out(others, litter)) == [
        "3 files that are not images were skipped: .txt, without a suffix",
        "3 files of systems and programs, such as thumbnails, were left out: 2 in @eaDir, 1 in Thumbs.db",
    ]
    assert list(left_out([], [])) == []


def test_each_file_that_is_left_out_has_a_reason():
    assert reasons(Listing(["a.png"], ["b.txt", "c"], ["@eaDir/d.jpg"])) == {
        "b.txt": "left out: not an image (.txt)",
        "c": "left out: not an image (no suffix)",
        "@eaDir/d.jpg": "left out: a file of systems and programs (@eaDir)",
    }


def test_dark_gray_of_16_bits_is_named_with_its_bits_and_the_remedy():
    (note,) = notes_on_gray(peaks(4095, 60000, 0, 1000, 4000, 2000, None), Decoding())
    assert "4 images of 16-bit gray use at most 12 bits" in note
    assert "0.tif (12 bits), 3.tif (10 bits), 4.tif (12 bits), ...;" in note
    assert note.endswith("set data.white_level: 4095")
    assert list(notes_on_gray(peaks(60000, 0, 2**14), Decoding())) == []


def test_gray_that_is_brighter_than_white_is_named():
    (note,) = notes_on_gray(peaks(4095, 4096, 100), Decoding(white_level=4095))
    assert "1 images of 16-bit gray have values above data.white_level, 4095, which are cut off: 1.tif;" in note
    assert list(notes_on_gray(peaks(4095, 100), Decoding(white_level=4095))) == []
