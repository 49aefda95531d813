"""Fixtures: a registered model and parameters that belong to one test."""

from __future__ import annotations

from itertools import count

import pytest

from flows.config.parameters import check
from flows.registry.aliases import CHAMPION, PRODUCTION
from flows.registry.ledger_lines import Event
from flows.registry.promotion import reconcile
from flows.registry.records import Statement, state
from flows.registry.store import client
from flows.registry.verdict import NONE
from flows.registry.version_record import LiveVersion
from flows.registry.versions import find
from tasks.core.params import read_document
from tests.project import ROOT

NUMBERS = count()


class Registry:
    """A registered model that belongs to one test; its versions have verdicts assigned by the test."""

    def __init__(self, folder):
        self.name, self.folder = f"model{next(NUMBERS)}", folder
        self.ledger = folder / "ledger.jsonl"
        client().create_registered_model(self.name)
        self.experiment = client().create_experiment(
            f"{self.name}-runs", artifact_location=(folder / "artifacts").as_uri()
        )

    def version(self, verdict="pass", against=NONE, proof="passed"):
        """Creates a version with a record; `against` is the number of a version, or none."""
        number = str(self.unrecorded().version)
        self.judge(number, against, verdict, proof)
        return number

    def judge(self, number, against, verdict="pass", proof="passed"):
        live = None if against == NONE else self.as_live(against)
        statement = Statement(Event.JUDGED, verdict, "because", live, proved=proof == "passed")
        state(client().get_model_version(self.name, number), statement, self.ledger)

    def unrecorded(self, **tags):
        """Creates a version without a record, in a run."""
        source = self.folder / f"weights{next(NUMBERS)}"
        source.mkdir()
        (source / "weights").write_text(source.name)
        run = client().create_run(self.experiment).info.run_id
        return client().create_model_version(self.name, str(source), run_id=run, tags=tags)

    def as_live(self, number):
        made = client().get_model_version(self.name, number).creation_timestamp
        return LiveVersion(number=number, made=int(made))

    def request(self, version):
        client().set_registered_model_alias(self.name, CHAMPION, version)

    def copy(self, version):
        return client().copy_model_version(f"models:/{self.name}/{version}", f"{self.name}{PRODUCTION}")

    def reconcile(self, person_decides=False):
        return reconcile(self.name, person_decides=person_decides, ledger_file=self.ledger)

    def at(self, alias):
        version = find(self.name, alias)
        return str(version.version) if version else None


@pytest.fixture
def registry(tmp_path):
    return Registry(tmp_path)


@pytest.fixture
def params(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    document = read_document(ROOT / "params.yaml")

    def changed(**sections):
        for name, values in sections.items():
            document[name].update(values)
        return check(document)

    return changed
