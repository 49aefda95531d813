"""A registry and parameters of a test's own."""

from __future__ import annotations

from itertools import count

import pytest

from flows.config.parameters import check
from flows.registry.runs import Tag
from flows.registry.store import client
from flows.registry.verdict import NONE
from flows.registry.versions import CHAMPION, PRODUCTION, find
from flows.release import reconcile
from tasks.core.params import read_document
from tests.project import ROOT

NUMBERS = count()


class Registry:
    """A registered model of the test's own, with versions that say what their verdict was."""

    def __init__(self, folder):
        self.name, self.folder = f"model{next(NUMBERS)}", folder
        self.ledger = folder / "ledger.jsonl"
        client().create_registered_model(self.name)

    def version(self, verdict="pass", against=NONE, proof="passed"):
        source = self.folder / f"weights{next(NUMBERS)}"
        source.mkdir()
        tags = {Tag.VERDICT: verdict, Tag.VERDICT_AGAINST: against, Tag.VERDICT_WHY: "because", Tag.PROOF: proof}
        return str(client().create_model_version(self.name, str(source), tags=tags).version)

    def wish(self, version):
        client().set_registered_model_alias(self.name, CHAMPION, version)

    def copy(self, version):
        return client().copy_model_version(f"models:/{self.name}/{version}", f"{self.name}{PRODUCTION}")

    def reconcile(self, person_decides=False):
        return reconcile(self.name, person_decides=person_decides, ledger_file=self.ledger)

    def at(self, alias):
        found = find(self.name, alias)
        return str(found.version) if found else None


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path)


@pytest.fixture
def params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    document = read_document(ROOT / "params.yaml")

    def changed(**sections):
        for name, values in sections.items():
            document[name] = {**document[name], **values}
        return check(document)

    return changed
