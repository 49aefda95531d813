from __future__ import annotations

import os

from flows.local.environment import main_checkout_of, set_defaults


def test_the_main_checkout_is_where_a_worktrees_registry_leads(tmp_path):
    main, disk = tmp_path / "main", tmp_path / "disk"
    worktree = main / ".state" / "worktrees" / "1" / "rootstock"
    for folder in (worktree, disk):
        folder.mkdir(parents=True)
    assert main_checkout_of(main) == main
    (main / ".registry").symlink_to(disk)
    (worktree / ".registry").symlink_to(main / ".registry")
    assert (main_checkout_of(main), main_checkout_of(worktree)) == (main, main)


def test_servers_on_loopback_are_reached_without_a_proxy(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "example.org")
    monkeypatch.delenv("no_proxy", raising=False)
    for _ in range(2):
        set_defaults()
        assert os.environ["no_proxy"] == os.environ["NO_PROXY"] == "example.org,127.0.0.1,localhost"
    monkeypatch.setenv("no_proxy", "*")
    set_defaults()
    assert os.environ["no_proxy"] == "*"
