"""Which tests go to one worker of pytest-xdist, and which come first."""

from __future__ import annotations

import pytest

ONE_WORKER = {  # what one worker builds and uses, since tests change it or since it is expensive: in which files
    "served": (
        *("tests/deploy/test_ci.py", "tests/deploy/test_schedule.py", "tests/end_to_end/test_promotion.py"),
        "tests/flows/local/test_servers.py",
    ),
    "loaded": ("tests/core/test_digest_completeness.py",),
}
GROUPS = {file: name for name, files in ONE_WORKER.items() for file in files}


def group_of(nodeid: str) -> str | None:
    return GROUPS.get(nodeid.partition("::")[0])


def check_group(item: pytest.Function) -> None:
    """Raises UsageError if a test uses what one worker has, but does not lie in a file whose tests go there."""
    for name in ONE_WORKER.keys() & set(item.fixturenames):
        if group_of(item.nodeid) != name:
            raise pytest.UsageError(f"{item.nodeid} uses {name}: add its file to ONE_WORKER in tests/groups.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object):
    """Each test goes to whichever worker is free, but all tests of a group to one; the groups come first.

    Marks would say so too, but the ids of pytest 9.2 carry no group, and xdist 3.8 then ignores them silently.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid) or nodeid

    return Groups(config, log)
