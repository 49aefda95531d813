from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.local.job import Job, duration_text, rate_text
from tasks.core.messages import ProgressMessage


def job(done: int, total: int, began: float = 0.0, now: float = 10.0) -> Job:
    return Job(ProgressMessage(done, total, "things"), began, now)


def test_rate_and_remaining_time_follow_from_the_messages():
    pace = job(10, 40)
    assert (pace.rate, pace.left, pace.length, pace.quarter) == (1.0, 30.0, 40.0, 1)
    assert pace.advance(ProgressMessage(30, 40, "things"), 20.0)
    assert (pace.rate, pace.left, pace.quarter) == (2.0, 5.0, 3)


def test_a_resumed_fit_does_not_count_what_an_earlier_run_did():
    pace = job(21, 40, began=0.0, now=1.0)
    pace.advance(ProgressMessage(22, 40, "epochs"), 61.0)
    assert pace.left == pytest.approx(18 * 60)


@pytest.mark.parametrize("message", [ProgressMessage(1, 40, "x"), ProgressMessage(20, 41, "x")], ids=["again", "other"])
def test_the_next_job_is_another_one(message):
    pace = job(10, 40)
    assert not pace.advance(message, 11.0)
    assert pace.message.done == 10


@given(st.integers(0, 100), st.integers(0, 100), st.floats(0, 1e6), st.floats(0, 1e6))
def test_every_message_has_a_pace(done, total, began, now):
    pace = job(done, total, began, now)
    assert pace.rate >= 0
    assert pace.length >= 0
    assert isinstance(rate_text(pace.rate) + duration_text(pace.length), str)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0.0 s"), (9.94, "9.9 s"), (10, "10 s"), (89, "89 s"), (91, "2 min"), (5000, "83 min"), (7200, "2.0 h")],
)
def test_durations_are_short(seconds, text):
    assert duration_text(seconds) == text


@pytest.mark.parametrize(("rate", "text"), [(0, ""), (1500.2, "1500/s"), (3.21, "3.2/s"), (0.02, "50 s each")])
def test_rates_are_short_and_slow_ones_are_durations(rate, text):
    assert rate_text(rate) == text
