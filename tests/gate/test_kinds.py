from __future__ import annotations

from tasks.core.target import TargetKind
from tasks.gate.kinds import COMPARISONS


def test_every_kind_has_a_comparison():
    assert set(COMPARISONS) == set(TargetKind)
