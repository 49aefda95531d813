from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import pytest

from tasks.scorer.memory import Memory


def test_pixels_in_use_stay_within_the_limit_and_larger_images_are_decoded_alone():
    memory, lock, used, peaks = Memory(100), Lock(), [], []

    def work(pixels: int) -> None:
        with memory.reserve(pixels):
            with lock:
                used.append(pixels)
                peaks.append((sum(used), len(used)))
            time.sleep(0.002)
            with lock:
                used.remove(pixels)

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, [30, 60, 250, 10, 100, 40] * 8))
    assert len(peaks) == 48
    assert all(total <= 100 or count == 1 for total, count in peaks)
    assert any(count > 1 for _, count in peaks)


def test_pixels_are_given_back_after_an_error():
    memory = Memory(10)
    with pytest.raises(ValueError, match="broken"), memory.reserve(10):
        raise ValueError("broken")
    with memory.reserve(10):
        pass
