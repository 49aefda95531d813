"""Ends a process that hangs, even where it holds Python's lock: its keeper starts another one."""

from __future__ import annotations

import asyncio
import faulthandler
from collections.abc import Callable

BEAT, LIMIT = 5.0, 15.0  # seconds between two signs of life, and after the last one


async def beat(is_well: Callable[[], bool] = lambda: True) -> None:
    """Puts the end off for as long as this loop runs and `is_well`. The stacks of all threads then go to the log."""
    while True:
        if is_well():
            faulthandler.dump_traceback_later(LIMIT, exit=True)
        await asyncio.sleep(BEAT)
