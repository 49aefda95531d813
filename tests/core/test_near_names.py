from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.core.near_names import did_you_mean, similar_beside

NAMES = ["finetune.blocks", "head.kind", "mobilenet_v2", "mobilenet_v3_small", "article"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("finetune.block", "; did you mean finetune.blocks?"),
        ("FINETUNE.BLOCKS", "; did you mean finetune.blocks?"),
        ("artikle", "; did you mean article?"),
        ("mobilenetv2", "; did you mean mobilenet_v2 or mobilenet_v3_small?"),
        ("zebra", ""),
        ("", ""),
    ],
)
def test_close_names_are_suggested(name, text):
    assert did_you_mean(name, NAMES) == text


@given(st.text(), st.lists(st.text()))
def test_only_existing_names_are_suggested(name, names):
    text = did_you_mean(name, names)
    assert not text or any(each in text for each in names)


def test_names_beside_a_missing_file_are_suggested(tmp_path):
    (tmp_path / "photos").mkdir()
    assert similar_beside(tmp_path / "photo") == "; did you mean photos?"
    assert similar_beside(tmp_path / "none" / "photo") == ""
