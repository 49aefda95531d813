"""What make up started, while it runs; tests/flows/test_servers.py has how it ends."""

from __future__ import annotations

from urllib.request import urlopen

from tasks import STAGES
from tasks.parts.errors import EXIT_REFUSED, EXIT_UNDECIDED
from tasks.parts.files import read_json
from tests.project import Project


def test_both_pages_answer_on_loopback_and_show_what_the_run_wrote(served: Project):
    assert all(address.startswith("http://127.0.0.1:") for address in served.addresses.values())
    assert b"MLflow" in urlopen(served.addresses["mlflow"]).read()
    assert b"Prefect" in urlopen(served.addresses["prefect"]).read()
    from mlflow import MlflowClient

    client = MlflowClient(served.addresses["mlflow"], served.addresses["mlflow"])
    assert int(client.get_model_version_by_alias("rootstock", "challenger").version) == max(served.numbers())


def test_starting_again_keeps_the_servers(served: Project):
    before = read_json(served.root / ".state" / "servers.json")
    assert served.flows("up").returncode == 0
    assert read_json(served.root / ".state" / "servers.json") == before


def test_a_retraining_uses_the_server_that_is_up(served: Project):
    done = served.retrain()
    assert done.returncode in {0, EXIT_REFUSED, EXIT_UNDECIDED}, done.stdout + done.stderr
    assert done.stdout.count("| unchanged") >= len(STAGES)
    assert not (served.root / ".state" / "logs" / "prefect-temporary.log").exists()
    answer = urlopen(f"{served.addresses['prefect']}/api/health")
    assert answer.status == 200


def test_the_doctor_knows_them(served: Project):
    done = served.flows("doctor")
    assert f"prefect is up at {served.addresses['prefect']}" in done.stdout
    assert "ok   params.yaml is valid" in done.stdout
