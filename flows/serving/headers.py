"""Headers between the front and its workers, which no client can set: the front forwards none of these."""

from __future__ import annotations

from typing import Final

SECONDS: Final = "x-rootstock-seconds"  # how long the front still waits for this request
SUSPECT: Final = "x-rootstock-suspect"  # a worker has died while it answered this request
