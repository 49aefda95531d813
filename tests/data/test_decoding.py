from __future__ import annotations

import pytest

from tasks.data.decoding import load, resolve, save
from tasks.scorer.decode import Decoding


@pytest.mark.parametrize(
    ("background", "color"),
    [("white", (255, 255, 255)), ("black", (0, 0, 0)), ("gray", (128, 128, 128)), ("#0a141e", (10, 20, 30))],
)
def test_settings_are_resolved_and_read_as_they_were_written(tmp_path, background, color):
    decoding = resolve(10**6, background, 4095)
    assert decoding == Decoding(10**6, color, 4095)
    save(tmp_path / "decoding.json", decoding)
    assert load(tmp_path / "decoding.json") == decoding


def test_the_default_white_level_is_that_of_16_bits():
    assert resolve(1, "white", None).white_level == 65535
