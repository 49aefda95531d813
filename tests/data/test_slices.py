from __future__ import annotations

import pandas as pd
import pytest

from tasks.core.errors import ParamsError
from tasks.data.slices import slices_of
from tests.errors import raises


def test_values_are_slices_and_many_numbers_are_quartiles():
    rows = pd.DataFrame({"mode": ["RGB", "L", "RGB", None] * 10, "width": range(40)})
    slices = dict(slices_of(rows, ["mode", "width"]))
    assert [name for name in slices if name.startswith("mode")] == ["mode=L", "mode=RGB"]
    assert slices["mode=RGB"].sum() == 20
    quartiles = [inside.sum() for name, inside in slices.items() if name.startswith("width")]
    assert quartiles == [10] * 4


@pytest.mark.parametrize("kind", ["float64", "Int64"])
def test_quartiles_of_large_numbers_have_distinct_names_and_missing_numbers_are_in_none(kind):
    rows = pd.DataFrame(
        {"taken": pd.Series([None, *(1_700_000_000 + 60 * number for number in range(40))], dtype=kind)}
    )
    assert [inside.sum() for _, inside in slices_of(rows, ["taken"])] == [10] * 4
    assert not any(inside[0] for _, inside in slices_of(rows, ["taken"]))


def test_infinity_is_in_no_quartile():
    rows = pd.DataFrame({"ratio": [float("inf"), *map(float, range(40))]})
    assert [inside.sum() for _, inside in slices_of(rows, ["ratio"])] == [10] * 4


def test_rare_texts_share_a_slice():
    rows = pd.DataFrame({"camera": [f"c{number % 30}" for number in range(40)]})
    slices = dict(slices_of(rows, ["camera"]))
    assert len(slices) == 12
    assert sum(inside.sum() for inside in slices.values()) == 40
    assert "camera=others" in slices


def test_an_unknown_column_is_reported_with_the_existing_ones():
    with raises(ParamsError, "evaluate.slices") as caught:
        list(slices_of(pd.DataFrame({"mode": ["L"], "path": ["a.png"]}), ["colour"]))
    assert "no column colour; it has mode" in str(caught.value)


def test_a_categorical_column_is_like_its_values_and_lists_are_refused():
    texts = [f"camera {number % 20}" for number in range(60)]
    plain, categories = pd.DataFrame({"made": texts}), pd.DataFrame({"made": pd.Categorical(texts)})
    as_is = {name: list(inside) for name, inside in slices_of(plain, ["made"])}
    assert {name: list(inside) for name, inside in slices_of(categories, ["made"])} == as_is
    with raises(ParamsError, "evaluate.slices") as caught:
        list(slices_of(pd.DataFrame({"made": [["a"], ["b"]]}), ["made"]))
    assert "made" in str(caught.value)
