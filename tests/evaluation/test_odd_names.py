"""Class names with line breaks, bars and quotes survive the files that are written."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.data.slices import slices_of
from tasks.evaluation.prediction_tables import label_schema, merge, part_file
from tasks.evaluation.report import table_section, write_slices, write_table

NAMES = ("two\nlines", "a|b", 'say "hi", he', "Kreis é", "NA", "x\r\ny")


@pytest.mark.parametrize("index", [False, True])
def test_tables_of_classes(tmp_path, index):
    table = pd.DataFrame({"support": range(len(NAMES))}, index=pd.Index(NAMES, name="class"))
    write_table(tmp_path / "t.csv", table if index else table.reset_index(), index=index)
    assert [row[0] for row in table_section("Classes", tmp_path / "t.csv").rows] == list(NAMES)


def test_slices(tmp_path):
    test = pd.DataFrame({"kind": NAMES})
    paths = SimpleNamespace(slices=tmp_path / "slices.csv")
    case = SimpleNamespace(test=test, section=SimpleNamespace(slices=("kind",)), paths=paths)
    write_slices(case, np.ones(len(NAMES)), "accuracy")
    names = [name for name, _ in slices_of(test, ["kind"])]
    assert {row[0] for row in table_section("Slices", paths.slices).rows} == set(names)
    assert set(names) == {f"kind={name}" for name in NAMES}


def test_predictions(tmp_path):
    schema = label_schema(SimpleNamespace(classes=NAMES))
    rows = [{"path": f"{name}.png", "label": name, "distribution": [0.5] * len(NAMES)} for name in NAMES]
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), part_file(tmp_path, 0))
    merge(tmp_path, tmp_path / "p.parquet", tmp_path / "p.csv")
    assert tuple(json.loads(pq.read_schema(tmp_path / "p.parquet").field("distribution").metadata[b"classes"])) == NAMES
    assert tuple(pd.read_parquet(tmp_path / "p.parquet")["label"]) == NAMES
    assert tuple(pd.read_csv(tmp_path / "p.csv", keep_default_na=False)["label"]) == NAMES
