from __future__ import annotations

import io
from urllib.error import HTTPError

import pytest

from flows.local import links
from flows.local.links import model_page, next_steps

MLFLOW = "http://127.0.0.1:5000"


@pytest.mark.parametrize(
    ("model", "page"),
    [
        ("rootstock", f"{MLFLOW}/#/models/rootstock?workflowType=machine_learning"),
        ("ants & bees", f"{MLFLOW}/#/models/ants%20%26%20bees?workflowType=machine_learning"),
        (None, f"{MLFLOW}/#/models?workflowType=machine_learning"),
    ],
)
def test_a_model_page_is_that_of_machine_learning(model, page):
    assert model_page(MLFLOW, model) == page


@pytest.mark.parametrize(("code", "step"), [(404, "make run registers the first version"), (0, "alias champion")])
def test_next_is_what_can_be_done(monkeypatch, code, step):
    def answer(request, timeout):
        assert request.full_url.endswith("get?name=rootstock")
        assert request.get_header("Authorization") == "Basic cm9vdHN0b2NrOnNlY3JldA=="
        if code:
            raise HTTPError(request.full_url, code, "", None, None)
        return io.BytesIO(b"{}")

    monkeypatch.setattr(links, "urlopen", answer)
    lines = next_steps(MLFLOW, "rootstock", "rootstock:secret", shared=False).splitlines()
    assert lines[0] == f"models      {model_page(MLFLOW, None if code else 'rootstock')}"
    assert lines[1].startswith("password    ")
    assert "secret" not in lines[1]
    assert step in lines[2]
    assert lines[3] == "stop        make down"


def test_with_a_login_the_link_to_the_model_carries_a_token(monkeypatch):
    monkeypatch.setattr(links, "urlopen", lambda _request, timeout: io.BytesIO(b"{}"))
    monkeypatch.setattr(links, "new_link", lambda address: f"{address}/?login=once")
    line = next_steps(MLFLOW, "rootstock", "rootstock:secret", shared=True).splitlines()[0]
    assert line == f"models      {MLFLOW}/?login=once#/models/rootstock?workflowType=machine_learning (works once)"


def test_a_server_that_is_broken_is_no_missing_model(monkeypatch):
    def answer(request, timeout):
        raise HTTPError(request.full_url, 500, "", None, None)

    monkeypatch.setattr(links, "urlopen", answer)
    with pytest.raises(HTTPError):
        next_steps(MLFLOW, "rootstock", "rootstock:secret", shared=False)
