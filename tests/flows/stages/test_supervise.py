from __future__ import annotations

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.stages.supervise import _failure, _slot
from tasks.core.errors import RootstockError


def test_a_stage_whose_results_dvc_could_not_keep_is_told(params):
    record = {"run": "x", "seconds": 1.0, "report": {}}
    failure = _failure("head", 255, record, ["ERROR: No space left on device"], params())
    assert str(failure) == (
        "head was computed, but DVC could not keep it; the last that was printed:\nERROR: No space left on device"
    )


def test_a_slot_that_prefect_does_not_have_is_told(prefect_server):
    told = pytest.raises(RootstockError, match=r"run\.slot: there is no concurrency limit gpu; make one: prefect")
    with temporary_settings({PREFECT_API_URL: prefect_server}), told, _slot("gpu"):
        pytest.fail("it was taken")
