"""An interrupt that a library's cleanup loses is raised again at the next check."""

from __future__ import annotations

import contextlib
import os
import signal

import pytest

from flows.local import interruption
from flows.local.interruption import check_interrupted, remember_interrupts


def test_a_lost_interrupt_is_raised_again(monkeypatch):
    monkeypatch.setattr(interruption, "RECEIVED", type(interruption.RECEIVED)())
    before = signal.getsignal(signal.SIGINT)
    check_interrupted()
    try:
        remember_interrupts()
        with contextlib.suppress(KeyboardInterrupt):  # as a library's cleanup would
            os.kill(os.getpid(), signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    with pytest.raises(KeyboardInterrupt):
        check_interrupted()
