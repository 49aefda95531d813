from __future__ import annotations

from flows.config.parameters import check, load
from tasks.core.errors import ParamsError
from tasks.core.params import read_document
from tests.errors import raises
from tests.project import ROOT


def test_an_unknown_section_is_refused(tmp_path):
    text = (ROOT / "params.yaml").read_text().replace("seed: 0", "sead: 0", 1)
    (tmp_path / "params.yaml").write_text(text)
    with raises(ParamsError, "sead") as caught:
        load(tmp_path / "params.yaml")
    assert f"line {text[: text.index('sead')].count(chr(10)) + 1}:" in str(caught.value)


def test_a_head_that_cannot_be_fine_tuned_is_refused():
    document = read_document(ROOT / "params.yaml")
    document["head"]["kind"] = "knn"
    with raises(ParamsError, "finetune.epochs"):
        check(document)
    document["finetune"]["epochs"] = 0
    check(document)
