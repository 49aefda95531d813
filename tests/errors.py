"""Assertions on errors by class and key, so that messages can be improved freely."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tasks.core.errors import RootstockError


@contextmanager
def raises(kind: type[RootstockError], key: str) -> Iterator[pytest.ExceptionInfo[RootstockError]]:
    """Expects an error with this class, this key and a nonempty message."""
    with pytest.raises(kind) as caught:
        yield caught
    assert caught.value.key == key, f"{caught.value.key}: {caught.value}"
    assert str(caught.value)
