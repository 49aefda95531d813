"""Heavy packages are imported only where they are needed; each import runs in its own process."""

from __future__ import annotations

import json

import pytest

from tests.project import ROOT, run_python

HEAVY = ("torch", "torchvision", "pandas", "scipy", "sklearn", "matplotlib", "mlflow", "prefect", "great_expectations")
LOADED = "import json, sys; {}; print(json.dumps([name for name in {!r} if name in sys.modules]))"
LIGHT = {  # packages that may be loaded besides the standard library and light packages
    "from flows.config import parameters; parameters.load()": set(),
    "from tasks.core.digest import closure; closure('tasks.finetune')": set(),
    "import tasks.core.target": set(),
    "import tasks.scorer.decode": set(),
    "import flows.registry.promotion": set(),
    "import flows.release": {"prefect"},
    "import flows.retrain": {"prefect"},
    "import flows.registry.predictions": {"pandas"},
}


@pytest.mark.parametrize("statement", LIGHT)
def test_an_import_loads_nothing_heavy(statement):
    done = run_python(ROOT, "-c", LOADED.format(statement, HEAVY))
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout.splitlines()[-1])) == LIGHT[statement]


def test_the_check_itself_sees_what_is_heavy():
    done = run_python(ROOT, "-c", LOADED.format("import tasks.training.loop", HEAVY))
    assert "torch" in json.loads(done.stdout.splitlines()[-1]), done.stderr
