from __future__ import annotations

import pytest
import torch

from tasks.hardware.threads import one_thread


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def failing_on_one_thread():
    with one_thread():
        assert torch.get_num_threads() == 1
        raise ValueError("wrong")


@pytest.mark.usefixtures("two_threads")
def test_the_number_of_threads_is_restored_even_after_an_error():
    with pytest.raises(ValueError, match="wrong"):
        failing_on_one_thread()
    assert torch.get_num_threads() == 2
