from __future__ import annotations

from flows.doctor import Finding


def test_findings_show_the_remedy_only_if_the_check_failed():
    assert Finding("disk is free", True, "free some").line() == "ok   disk is free"
    assert "free some" in Finding("disk is full", False, "free some").line()
