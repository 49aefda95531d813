from __future__ import annotations

import pytest

from flows.config.parameters import check, load
from tasks.core.errors import ParamsError
from tasks.core.params import read_document
from tests.project import ROOT


def test_a_section_that_nothing_reads_is_told(tmp_path):
    text = (ROOT / "params.yaml").read_text().replace("seed: 0", "sead: 0", 1)
    (tmp_path / "params.yaml").write_text(text)
    with pytest.raises(ParamsError, match=r"line \d+: nothing reads sead"):
        load(tmp_path / "params.yaml")


def test_a_head_that_cannot_be_fine_tuned_is_told_at_the_door():
    document = read_document(ROOT / "params.yaml")
    document["head"]["kind"] = "knn"
    with pytest.raises(ParamsError, match=r"a knn head has nothing to fine-tune: set finetune\.epochs to 0"):
        check(document)
    document["finetune"]["epochs"] = 0
    check(document)
