from __future__ import annotations

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.stages import supervise
from flows.stages.child import Output
from flows.stages.supervise import _failure, _slot
from tasks.core.errors import RootstockError
from tasks.core.messages import FailureMessage, ProgressMessage, RecordMessage, TextMessage


def test_a_stage_whose_results_dvc_could_not_keep_is_told(params):
    output = Output("x", print, [RecordMessage("x", "head", 1.0, 1.0, {})])
    output.take(b"ERROR: No space left on device")
    failure = _failure("head", 255, output, params())
    assert str(failure) == (
        "head was computed, but DVC could not keep it; the last that was printed:\nERROR: No space left on device"
    )
    assert not failure.again


def test_a_stage_that_says_why_it_failed_is_not_tried_again_and_a_silent_one_is(params):
    output = Output("x", print, failure=FailureMessage("x", "head", "no images", 5))
    failure = _failure("head", 255, output, params())
    assert (str(failure), failure.exit_code, failure.again) == ("head: no images", 5, False)
    failure = _failure("head", -9, Output("x", print), params())
    assert (str(failure), failure.again) == ("head ended without a word; the last that was printed:", True)
    failure = _failure("head", None, Output("x", print), params(run={"timeout": 7}))
    assert str(failure) == "head took longer than 7 seconds (run.timeout) and was ended"


def test_a_slot_that_prefect_does_not_have_is_told(prefect_server):
    told = pytest.raises(RootstockError, match=r"run\.slot: there is no concurrency limit gpu; make one: prefect")
    with temporary_settings({PREFECT_API_URL: prefect_server}), told, _slot("gpu"):
        pytest.fail("it was taken")


def test_progress_is_a_bar_from_the_first_message_on_and_texts_are_not(monkeypatch):
    calls = []
    monkeypatch.setattr(supervise, "create_progress_artifact", lambda *given: calls.append(given) or "id")
    monkeypatch.setattr(supervise, "update_progress_artifact", lambda *given: calls.append(given))
    show = supervise.progress_bar("finetune-progress", "finetune")
    for message in (TextMessage("99% sure"), ProgressMessage(12, 19, "epochs"), ProgressMessage(19, 19, "epochs")):
        show(message)
    assert calls == [(63, "finetune-progress", "finetune"), ("id", 100)]
