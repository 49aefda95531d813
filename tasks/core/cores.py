"""The cores that this process may use."""

from __future__ import annotations

from functools import cache


@cache
def count_cores() -> int:
    """Returns the number of cores that this process may use, of which a container may have fewer than the machine."""
    from joblib import cpu_count  # it reads the limits of control groups; os.cpu_count does not

    cores: int = cpu_count()
    return cores
