from __future__ import annotations

import logging

import pytest
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings

from flows.local.logs import EVENT, Detail
from flows.stages import artifacts, supervise
from flows.stages.child import Output
from flows.stages.supervise import _failure, _slot, log_message
from tasks.core.errors import RootstockError
from tasks.core.messages import FailureMessage, ProgressMessage, RecordMessage, TextMessage
from tests import session
from tests.errors import raises


def test_a_stage_whose_results_dvc_could_not_store_is_not_retried(params):
    output = Output("x", print, [RecordMessage("x", "head", 1.0, 1.0, {})])
    output.take(b"ERROR: No space left on device")
    failure = _failure("head", output, params())
    assert (failure.key, failure.again) == ("not-stored", False)
    assert str(failure).startswith("head ")
    assert str(failure).endswith("\nERROR: No space left on device")


def test_a_stage_that_reports_its_failure_is_not_retried_and_a_crashed_one_is(params):
    output = Output("x", print, failure=FailureMessage("x", "head", "no images", "data.source", 5))
    failure = _failure("head", output, params())
    assert (str(failure), failure.exit_code, failure.again) == ("head: no images", 5, False)
    assert failure.key == "data.source"
    failure = _failure("head", Output("x", print), params())
    assert (failure.key, failure.again) == ("stage-crashed", True)
    failure = _failure("head", Output("x", print), params(), memory_was_full=True)
    assert (failure.key, failure.again) == ("memory-full", False)
    failure = _failure("head", Output("x", print, exceeded="run.timeout"), params(run={"timeout": 7}))
    assert (failure.key, failure.again) == ("run.timeout", False)
    assert "7 seconds" in str(failure)


def test_the_error_of_a_refused_stage_names_its_report(params, monkeypatch):
    typed = params()
    page = typed.paths.validation_page
    page.parent.mkdir(parents=True)
    page.write_text("findings")
    failure = FailureMessage("x", "validate", "the data was refused", "validation-failed", 5)
    monkeypatch.setattr(supervise, "get_run_logger", lambda: logging.getLogger("stage"))
    monkeypatch.setattr(supervise, "run_supervised", lambda *_arguments: (5, Output("x", print, failure=failure)))
    monkeypatch.setattr(supervise, "_restore", lambda *_arguments: None)
    with raises(RootstockError, "validation-failed") as caught:
        supervise.reproduce.fn("validate", typed, outdated=True, on_line=list)
    report = typed.paths.failed("validate") / page.name
    assert report.exists()
    assert str(caught.value) == f"validate: the data was refused\nreport: {report}"


def test_a_slot_that_prefect_does_not_have_is_refused(prefect_server):
    settings = temporary_settings({PREFECT_API_URL: prefect_server, PREFECT_API_AUTH_STRING: session.auth_string()})
    with settings, raises(RootstockError, "run.slot") as caught, _slot("gpu"):
        pytest.fail("it was taken")
    assert "gpu" in str(caught.value)


def test_progress_is_a_bar_from_the_first_message_on_and_texts_are_not(monkeypatch):
    calls = []
    monkeypatch.setattr(artifacts, "create_progress_artifact", lambda *arguments: calls.append(arguments) or "id")
    monkeypatch.setattr(artifacts, "update_progress_artifact", lambda *arguments: calls.append(arguments))
    bar = artifacts.ProgressBar("finetune-progress", "finetune")
    for message in (TextMessage("99% sure"), ProgressMessage(12, 19, "epochs"), ProgressMessage(19, 19, "epochs")):
        bar.show(message)
    bar.complete()
    assert calls == [(63, "finetune-progress", "finetune"), ("id", 100)]


@pytest.mark.parametrize(
    ("messages", "last"), [([(12, 19), (1, 19)], ("id", 100)), ([(20, 19)], (100, "x", "x")), ([], None)]
)
def test_progress_of_a_stage_that_ends_well_ends_at_100(monkeypatch, messages, last):
    calls = [None]
    monkeypatch.setattr(artifacts, "create_progress_artifact", lambda *arguments: calls.append(arguments[:3]) or "id")
    monkeypatch.setattr(artifacts, "update_progress_artifact", lambda *arguments: calls.append(arguments))
    bar = artifacts.ProgressBar("x", "x")
    for done, total in messages:
        bar.show(ProgressMessage(done, total, "epochs"))
    bar.complete()
    assert calls[-1] == last


def test_warnings_are_logged_as_warnings_and_other_texts_as_details(caplog):
    log = logging.getLogger("stage")
    with caplog.at_level(logging.INFO):
        for message in (TextMessage("warning: x"), TextMessage("y"), ProgressMessage(1, 2, "z")):
            log_message(log, message)
    assert [record.levelname for record in caplog.records] == ["WARNING", "INFO", "INFO"]
    assert [getattr(record, EVENT, None) for record in caplog.records] == [None, Detail(), ProgressMessage(1, 2, "z")]
