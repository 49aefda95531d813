"""Nearest neighbors by blocks and in an index, compared with all similarities in float64."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.core.errors import RootstockError
from tasks.core.progress import listening
from tasks.objectives import nearest
from tasks.objectives.nearest import SEARCHES, by_index, exactly
from tests.errors import raises

ROUNDING = 1e-5


def similarities(x):
    """Returns all cosine similarities, (N, N) float64, and -2 between a row and itself."""
    z = F.normalize(x.double(), dim=1)
    return (z @ z.T).fill_diagonal_(-2)


def clusters(rows, width=24, number=30):
    """Returns rows around as many centers, drawn with a fixed seed."""
    random = torch.Generator().manual_seed(0)
    center = torch.randint(number, (rows,), generator=random)
    centers = torch.randn(number, width, generator=random)
    return centers[center] + 0.5 * torch.randn(rows, width, generator=random)


@pytest.fixture
def threads():
    """Restores the number of threads."""
    number = torch.get_num_threads()
    yield
    torch.set_num_threads(number)


@given(st.integers(2, 60), st.integers(1, 12), st.integers(1, 400), st.integers(0, 2**31 - 1), st.booleans())
@settings(max_examples=60)
def test_blocks_of_any_size_have_the_neighbors_of_all_rows_at_once(rows, count, scores, seed, repeated):
    """Equal rows, and rows of zeros, are neighbors of each other, but none is one of itself."""
    count, random = min(count, rows - 1), torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 4, generator=random)
    if repeated:
        x = x[torch.randint(max(1, rows // 4), (rows,), generator=random)]
        x[: rows // 5] = 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nearest, "SCORES", scores)
        row_NK, cosine_NK = exactly(x, count)
    true = similarities(x)
    assert row_NK.shape == cosine_NK.shape == (rows, count)
    assert not (row_NK == torch.arange(rows).unsqueeze(1)).any()
    assert all(len(set(row)) == count for row in row_NK.tolist())
    torch.testing.assert_close(cosine_NK.double(), true.gather(1, row_NK), atol=ROUNDING, rtol=0)
    torch.testing.assert_close(cosine_NK.double(), true.topk(count).values, atol=ROUNDING, rtol=0)


def test_the_index_has_nearly_all_of_the_neighbors():
    x = clusters(5000)
    row_NK, cosine_NK = by_index(x, 10)
    true = similarities(x)
    torch.testing.assert_close(cosine_NK.double(), true.gather(1, row_NK), atol=ROUNDING, rtol=0)
    assert (cosine_NK >= true.topk(10).values[:, -1:] - ROUNDING).double().mean() > 0.9
    assert not (row_NK == torch.arange(len(x)).unsqueeze(1)).any()
    assert all(len(set(row)) == 10 for row in row_NK.tolist())


@pytest.mark.parametrize("search", SEARCHES)
def test_the_neighbors_are_the_same_for_any_number_of_threads_and_at_each_call(search, threads, monkeypatch):
    monkeypatch.setattr(nearest, "SCORES", 2**20)
    x, results = clusters(4500), []
    for number in (1, 2, 3, 1):
        torch.set_num_threads(number)
        results.append(SEARCHES[search](x, 7))
    for other in results[1:]:
        assert torch.equal(other.row_NK, results[0].row_NK)
        assert torch.equal(other.cosine_NK, results[0].cosine_NK)


@pytest.mark.parametrize("search", SEARCHES)
def test_features_may_be_columns_of_a_wider_matrix(search):
    wide = clusters(500, width=30)
    one, other = (SEARCHES[search](x, 5) for x in (wide[:, 6:], wide[:, 6:].clone()))
    assert torch.equal(one.row_NK, other.row_NK)


def test_no_row_of_an_index_is_a_neighbor_of_itself_even_among_many_equal_ones():
    row_NK, cosine_NK = by_index(torch.ones(300, 4), 3)
    assert not (row_NK == torch.arange(300).unsqueeze(1)).any()
    assert row_NK.shape == (300, 3)
    torch.testing.assert_close(cosine_NK, torch.ones(300, 3))


def test_an_index_that_does_not_lead_to_enough_neighbors_is_an_error_with_the_remedy():
    with raises(RootstockError, "unlabelled.search") as caught:
        by_index(torch.ones(3000, 8), 2000)
    assert "exact" in str(caught.value)


@pytest.mark.parametrize(("search", "rows", "said"), [("exact", 41, 1), ("exact", 40, 0), ("index", 41, 0)])
def test_an_exact_search_among_many_images_names_the_parameter(search, rows, said, monkeypatch):
    monkeypatch.setattr(nearest, "MANY", 40)
    lines = []
    with listening(lambda message: lines.append(str(message))):
        SEARCHES[search](clusters(rows), 3)
    assert sum("unlabelled.search" in line and "square" in line for line in lines) == said
