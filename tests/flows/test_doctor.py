from __future__ import annotations

from flows.doctor import Finding


def test_findings_say_the_remedy_only_when_it_is_needed():
    assert Finding("disk is free", True, "free some").line() == "ok   disk is free"
    assert "free some" in Finding("disk is full", False, "free some").line()
