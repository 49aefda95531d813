"""Of two versions that are registered for the same content at the same time, the earlier counts if it is proved."""

from __future__ import annotations

import pytest

from flows.registry import twins
from flows.registry.store import client
from flows.registry.twins import earlier_twin

KEY = "the same content"


@pytest.fixture
def created(registry):
    """Returns a function that creates a version of the content in a run, and one that lists those that there are."""

    def create(run):
        return client().create_model_version(registry.name, "file:///none", run_id=run, tags={"key": KEY})

    return create, lambda: client().search_model_versions(f"name = '{registry.name}' and tags.key = '{KEY}'")


def test_the_earlier_version_counts_as_soon_as_it_is_proved(created, monkeypatch):
    create, matches = created
    first, second = create("one"), create("other")
    proved = []
    monkeypatch.setattr(twins.time, "sleep", lambda _seconds: proved.append(first.version))
    assert earlier_twin(second, matches, lambda twin: twin.version in proved).version == first.version
    assert earlier_twin(first, matches, lambda _twin: True) is None


def test_a_version_that_is_not_proved_in_time_or_is_of_the_same_run_does_not_count(created, monkeypatch):
    create, matches = created
    create("one")
    second, third = create("other"), create("other")
    monkeypatch.setattr(twins, "PATIENCE", 1.0)
    assert earlier_twin(third, matches, lambda twin: twin.run_id == "other") is None
    monkeypatch.setattr(twins.time, "sleep", lambda _seconds: pytest.fail("it waited for a version left long ago"))
    monkeypatch.setattr(twins, "PATIENCE", 0.0)
    assert earlier_twin(second, matches, lambda _twin: False) is None
