"""Limits the memory of images: the pixels that are decoded at the same time, and what is kept of them afterwards."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from PIL import Image


class Memory:
    """A limit on the pixels that are decoded at the same time, by all threads; a larger image is decoded alone."""

    def __init__(self, pixels: int) -> None:
        self._pixels, self._used, self._changed = pixels, 0, Condition()

    @contextmanager
    def reserve(self, pixels: int) -> Iterator[None]:
        """Waits until there is room for the pixels, and takes it."""
        with self._changed:
            self._changed.wait_for(lambda: not self._used or self._used + pixels <= self._pixels)
            self._used += pixels
        try:
            yield
        finally:
            with self._changed:
                self._used -= pixels
                self._changed.notify_all()


MEMORY = Memory(max(100_000_000, 16_000_000 * (os.cpu_count() or 1)))
# Pillow's blocks of 16 MiB are reused by the C library, thread by thread, and never given back; larger ones are.
Image.core.set_block_size(2**26)  # type: ignore[attr-defined]
