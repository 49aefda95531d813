from __future__ import annotations

import pandas as pd
import pytest

from tasks.core.errors import ParamsError
from tasks.data.slices import slices_of


def test_values_are_slices_and_many_numbers_are_quarters():
    rows = pd.DataFrame({"mode": ["RGB", "L", "RGB", None] * 10, "width": range(40)})
    found = dict(slices_of(rows, ["mode", "width"]))
    assert [name for name in found if name.startswith("mode")] == ["mode=L", "mode=RGB"]
    assert found["mode=RGB"].sum() == 20
    quarters = [inside.sum() for name, inside in found.items() if name.startswith("width")]
    assert quarters == [10] * 4


@pytest.mark.parametrize("kind", ["float64", "Int64"])
def test_quarters_of_large_numbers_are_told_apart_and_missing_ones_are_in_none(kind):
    rows = pd.DataFrame(
        {"taken": pd.Series([None, *(1_700_000_000 + 60 * number for number in range(40))], dtype=kind)}
    )
    assert [inside.sum() for _, inside in slices_of(rows, ["taken"])] == [10] * 4
    assert not any(inside[0] for _, inside in slices_of(rows, ["taken"]))


def test_infinity_is_in_no_quarter():
    rows = pd.DataFrame({"ratio": [float("inf"), *map(float, range(40))]})
    assert [inside.sum() for _, inside in slices_of(rows, ["ratio"])] == [10] * 4


def test_rare_texts_share_a_slice():
    rows = pd.DataFrame({"camera": [f"c{number % 30}" for number in range(40)]})
    found = dict(slices_of(rows, ["camera"]))
    assert len(found) == 12
    assert sum(inside.sum() for inside in found.values()) == 40
    assert "camera=others" in found


def test_an_unknown_column_is_named_with_those_that_are_there():
    with pytest.raises(ParamsError, match=r"no column colour; it has mode"):
        list(slices_of(pd.DataFrame({"mode": ["L"]}), ["colour"]))


def test_a_categorical_column_is_like_its_values_and_lists_are_refused():
    texts = [f"camera {number % 20}" for number in range(60)]
    plain, categories = pd.DataFrame({"made": texts}), pd.DataFrame({"made": pd.Categorical(texts)})
    as_is = {name: list(inside) for name, inside in slices_of(plain, ["made"])}
    assert {name: list(inside) for name, inside in slices_of(categories, ["made"])} == as_is
    with pytest.raises(ParamsError, match="the cells of made are lists"):
        list(slices_of(pd.DataFrame({"made": [["a"], ["b"]]}), ["made"]))
