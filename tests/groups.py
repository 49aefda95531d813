"""Groups of tests that one pytest-xdist worker runs, and the order of the groups."""

from __future__ import annotations

import pytest

ONE_WORKER = {  # fixtures for a single worker, since they are expensive or modified by tests, and their files
    "served": (
        *("tests/deploy/test_ci.py", "tests/deploy/test_schedule.py", "tests/end_to_end/test_promotion.py"),
        "tests/end_to_end/test_attacks.py",
        "tests/flows/local/test_servers.py",
    ),
    "loaded": ("tests/core/test_digest_completeness.py",),
    "serving": (
        *("tests/flows/serving/test_serve.py", "tests/flows/serving/test_serve_hostile.py"),
        "tests/flows/serving/test_serve_killed.py",
    ),
    "objects": ("tests/flows/sources/test_object_stores.py", "tests/flows/stages/test_remotes.py"),
}
GROUPS = {file: name for name, files in ONE_WORKER.items() for file in files}


def group_of(nodeid: str) -> str | None:
    return GROUPS.get(nodeid.partition("::")[0])


def check_group(item: pytest.Function) -> None:
    """Raises UsageError if a test uses a single worker's fixture but is not in one of the fixture's files."""
    for name in ONE_WORKER.keys() & set(item.fixturenames):
        if group_of(item.nodeid) != name:
            raise pytest.UsageError(f"{item.nodeid} uses {name}: add its file to ONE_WORKER in tests/groups.py")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object):
    """Sends each test to any free worker, but all tests of a group to one worker; groups come first.

    Marks are not used: the IDs of pytest 9.2 contain no group, so xdist 3.8 would silently ignore them.
    """
    from xdist.scheduler import LoadScopeScheduling

    class Groups(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group_of(nodeid) or nodeid

    return Groups(config, log)
