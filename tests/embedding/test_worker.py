"""What a worker keeps is loaded only while none of its threads computes."""

from __future__ import annotations

import threading

import pytest

from tasks.embedding.worker import Loaded
from tests.project import wait_until


def test_another_network_is_loaded_when_no_shard_is_computed():
    loaded, entered, seen = Loaded(), threading.Event(), []

    def load():
        seen.append("loaded")
        return "b"

    def other():
        entered.set()
        with loaded.using("b", load) as value:
            seen.append(value)

    with loaded.using("a", lambda: "a") as value:
        thread = threading.Thread(target=other)
        thread.start()
        entered.wait()
        with loaded.using("a", pytest.fail) as again:
            assert (value, again) == ("a", "a")
        thread.join(0.2)
        assert seen == []
    wait_until(lambda: seen == ["loaded", "b"], 10)
    thread.join()


def test_what_cannot_be_loaded_is_tried_again():
    loaded = Loaded()
    with pytest.raises(ZeroDivisionError), loaded.using("a", lambda: 1 // 0):
        pass
    with loaded.using("a", lambda: 7) as value:
        assert value == 7
