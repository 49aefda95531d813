from __future__ import annotations

import time
from threading import get_ident

import pytest
import torch

from tasks.hardware.threads import map_in_threads, one_thread, threads_for_blocks


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


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order_and_few_wait(threads):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    begun = []

    def square(number):
        begun.append(number)
        time.sleep(0.01 * (number % 2))
        return number * number, torch.get_num_threads()

    for place, (result, inside) in enumerate(map_in_threads(square, range(20))):
        assert (result, inside) == (place * place, 1)
        assert len(begun) <= place + threads + 1
    assert torch.get_num_threads() == threads
    torch.set_num_threads(before)


def test_what_is_not_in_blocks_is_computed_by_one_thread(two_threads):
    @threads_for_blocks()
    def counts():
        return [torch.get_num_threads(), len({*map_in_threads(lambda _: time.sleep(0.05) or get_ident(), range(4))})]

    assert counts() == [1, 2]
    assert torch.get_num_threads() == 2
    with one_thread():
        assert counts() == [1, 1]


def test_an_error_in_a_thread_is_raised():
    with pytest.raises(ZeroDivisionError):
        list(map_in_threads(lambda number: 1 // number, [1, 0]))
