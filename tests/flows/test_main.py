from __future__ import annotations

import pytest

from flows.__main__ import COMMANDS, main
from tasks.core.errors import EXIT_USAGE
from tests.project import ROOT


@pytest.mark.parametrize("arguments", [[], ["retrian"]])
def test_an_unknown_command_shows_all_commands(arguments, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert main(arguments) == EXIT_USAGE
    assert "retrain|data|choose|predict|compare|backbone|release" in capsys.readouterr().err


def test_a_full_disk_is_a_user_error(monkeypatch, capsys):
    def full(_arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setitem(COMMANDS, "doctor", full)
    assert main(["doctor"]) == 1
    assert "the disk is full" in capsys.readouterr().err
