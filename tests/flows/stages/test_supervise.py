from __future__ import annotations

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.stages import supervise
from flows.stages.child import Output
from flows.stages.supervise import _failure, _slot
from tasks.core.errors import RootstockError
from tasks.core.messages import FailureMessage, ProgressMessage, RecordMessage, TextMessage
from tests.errors import raises


def test_a_stage_whose_results_dvc_could_not_store_is_not_retried(params):
    output = Output("x", print, [RecordMessage("x", "head", 1.0, 1.0, {})])
    output.take(b"ERROR: No space left on device")
    failure = _failure("head", 255, output, params())
    assert (failure.key, failure.again) == ("not-stored", False)
    assert str(failure).startswith("head ")
    assert str(failure).endswith("\nERROR: No space left on device")


def test_a_stage_that_reports_its_failure_is_not_retried_and_a_crashed_one_is(params):
    output = Output("x", print, failure=FailureMessage("x", "head", "no images", "data.source", 5))
    failure = _failure("head", 255, output, params())
    assert (str(failure), failure.exit_code, failure.again) == ("head: no images", 5, False)
    assert failure.key == "data.source"
    failure = _failure("head", -9, Output("x", print), params())
    assert (failure.key, failure.again) == ("stage-crashed", True)
    failure = _failure("head", None, Output("x", print), params(run={"timeout": 7}))
    assert (failure.key, failure.again) == ("run.timeout", False)
    assert "7 seconds" in str(failure)


def test_a_slot_that_prefect_does_not_have_is_refused(prefect_server):
    settings = temporary_settings({PREFECT_API_URL: prefect_server})
    with settings, raises(RootstockError, "run.slot") as caught, _slot("gpu"):
        pytest.fail("it was taken")
    assert "gpu" in str(caught.value)


def test_progress_is_a_bar_from_the_first_message_on_and_texts_are_not(monkeypatch):
    calls = []
    monkeypatch.setattr(supervise, "create_progress_artifact", lambda *arguments: calls.append(arguments) or "id")
    monkeypatch.setattr(supervise, "update_progress_artifact", lambda *arguments: calls.append(arguments))
    show = supervise.progress_bar("finetune-progress", "finetune")
    for message in (TextMessage("99% sure"), ProgressMessage(12, 19, "epochs"), ProgressMessage(19, 19, "epochs")):
        show(message)
    assert calls == [(63, "finetune-progress", "finetune"), ("id", 100)]
