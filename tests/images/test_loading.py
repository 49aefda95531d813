from __future__ import annotations

import threading

import pytest
import torch

from tasks.images.loading import ImageSquares, prefetch
from tasks.scorer.preprocessing import Preprocessing
from tests.drawn import write_shapes
from tests.project import wait_until

PREPARE = Preprocessing(32, 32, (0.5,) * 3, (0.5,) * 3, "bilinear")


def test_squares_are_decoded_once_if_they_fit(tmp_path):
    root = write_shapes(tmp_path / "shapes", {"": 2})
    files = ["bar/0.png", "disc/0.png"]
    cached, uncached = ImageSquares(root, files, PREPARE, memory=1), ImageSquares(root, files, PREPARE, memory=0)
    first = cached[[1, 0]]
    assert torch.equal(first, uncached[[1, 0]])
    (root / "bar" / "0.png").unlink()
    assert torch.equal(cached[[1, 0]], first)
    with pytest.raises(FileNotFoundError):
        uncached[[0]]


def test_prefetched_items_keep_their_order_and_errors_arrive():
    assert list(prefetch(iter(range(50)))) == list(range(50))

    made = []

    def recorded():
        for number in range(3):
            made.append(number)
            yield number

    slow = prefetch(recorded())
    assert next(slow) == 0
    wait_until(lambda: made == [0, 1, 2])  # while the consumer requests no more
    assert list(slow) == [1, 2]

    def broken():
        yield 1
        raise ValueError("in the thread")

    items = prefetch(broken())
    assert next(items) == 1
    with pytest.raises(ValueError, match="in the thread"):
        next(items)


def test_the_thread_ends_when_the_items_are_left():
    before = set(threading.enumerate())
    items = prefetch(iter(range(100)))
    assert next(items) == 0
    (thread,) = set(threading.enumerate()) - before
    items.close()
    thread.join(5)
    assert not thread.is_alive()
