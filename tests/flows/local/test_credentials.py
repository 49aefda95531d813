from __future__ import annotations

import logging
import os

import pytest

from flows.local import git
from flows.local.credentials import PASSWORD, URI, USER, address_id, separate_credentials
from flows.local.logs import RUN_LOGGERS, file_handler, plain_errors
from tests.project import Project

CANARY = "canary5ecret"


@pytest.fixture(autouse=True)
def _variables(monkeypatch):
    for name in (URI, USER, PASSWORD):
        monkeypatch.setenv(name, "")  # so that it is as before at the end
        monkeypatch.delenv(name)


def test_credentials_of_a_server_leave_its_address_and_its_ledger_stays(tmp_path, monkeypatch):
    address = f"https://me:{CANARY}%2F@host.invalid:5000/mlflow"
    (tmp_path / "ledger").mkdir()
    (tmp_path / "ledger" / f"model-{address_id(address)}.jsonl").write_text("line")
    monkeypatch.setenv(URI, address)
    for _ in range(2):
        separate_credentials(tmp_path)
        assert os.environ[URI] == "https://host.invalid:5000/mlflow"
        assert (os.environ[USER], os.environ[PASSWORD]) == ("me", f"{CANARY}/")
    ledger = tmp_path / "ledger" / f"model-{address_id(os.environ[URI])}.jsonl"
    assert ledger.read_text() == "line"


@pytest.mark.parametrize("address", ["", "https://host.invalid", "sqlite:////tmp/x.db", "https://[::1", "http://h:abc"])
def test_other_addresses_stay(tmp_path, monkeypatch, address):
    monkeypatch.setenv(URI, address)
    separate_credentials(tmp_path)
    assert os.environ[URI] == address
    assert USER not in os.environ


def test_the_difference_holds_no_settings_of_dvc_no_ignored_file_and_no_credentials(tmp_path, monkeypatch):
    project = Project(tmp_path)
    project.git("init", "-q")
    (tmp_path / ".dvc").mkdir()
    names = (".gitignore", ".dvc/config", ".env", "größe.env", "code.py")
    for name in names:
        (tmp_path / name).touch()
    project.git("add", *names)
    (tmp_path / ".gitignore").write_text("*.env\n")
    project.commit()
    monkeypatch.chdir(tmp_path)
    for name in (*names[1:4], ".dvc/config.local", "untracked.env"):
        (tmp_path / name).write_text(CANARY)
    assert git.difference() == ""
    (tmp_path / "code.py").write_text(f"fetch('https://me:{CANARY}@host')\n")
    assert "+fetch('https://***@host')" in git.difference()


def test_no_log_shows_credentials_in_addresses(tmp_path):
    logger, handler = logging.getLogger(RUN_LOGGERS[0]), file_handler(tmp_path / "a.log")
    logger.addHandler(handler)
    plain_errors()
    try:
        logger.warning("asked %s", f"https://me:{CANARY}@host")
        logging.getLogger("library").addHandler(handler)
        try:
            raise OSError(f"no answer from https://me:{CANARY}@host")
        except OSError:
            logger.exception("failed")
            logging.getLogger("library").exception("failed")
    finally:
        logger.removeHandler(handler)
        logging.getLogger("library").removeHandler(handler)
        handler.close()
    text = (tmp_path / "a.log").read_text()
    assert text.count("Traceback") == 2
    assert CANARY not in text
