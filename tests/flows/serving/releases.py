"""Registers tiny versions in the checkout where it is run, and releases them: releases.py COUNT ARCHITECTURE SIDE.

The last one's code ends its process when it meets a picture that contains KILL. The script then does what each line
says, `promote 2`, `rollback`, or `plant 3` (sets the alias live by hand), and answers `done`. Versions have the same
network with other classes, so that an answer shows which one has given it.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path.cwd()))
sys.path.append(str(Path(__file__).parents[3]))  # for tests
import flows  # noqa: F401 - sets the environment

MODEL = "rootstock"
KILL = b"end this process"


def register(count: int, architecture: str, side: int, folder: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from flows.registry import register
    from flows.registry.ledger_lines import Event
    from flows.registry.records import Statement, state
    from flows.registry.store import client
    from flows.registry.version_files import digest_of_version
    from tasks.core.files import write_json
    from tasks.core.paths import PathsParams
    from tasks.core.target import TargetSpec
    from tasks.scorer.answer import spec_of
    from tasks.scorer.network import build_network
    from tasks.scorer.preprocessing import Preprocessing

    paths = PathsParams.load().paths
    tracker = client()
    experiment = tracker.create_experiment(MODEL, artifact_location=(folder / "artifacts").as_uri())
    register.lineage = lambda _paths: {}
    deadly = with_deadly_code(register.TASKS, folder / "deadly")
    for number in range(1, count + 1):
        torch.manual_seed(number)
        classes = tuple(f"{shape} {number}" for shape in ("bar", "disc", "ring"))
        for file in (paths.spec, paths.tuned, paths.task):
            file.parent.mkdir(parents=True, exist_ok=True)
        TargetSpec(classes=classes).save(paths.task)
        write_json(
            paths.spec, spec_of(architecture, classes, Preprocessing(side, side, (0.5,) * 3, (0.5,) * 3, "bilinear"))
        )
        save_file(build_network(architecture, 3).state_dict(), paths.tuned)
        write_predictions(paths)
        register.TASKS = deadly if number == count else register.TASKS
        run = SimpleNamespace(client=tracker, experiment=experiment, id=tracker.create_run(experiment).info.run_id)
        version = register._create(run, MODEL, paths, f"key {number}")
        files = digest_of_version(version)
        state(version, Statement(Event.REGISTERED, why="proved", files=files, key=f"key {number}", proved=True))


def write_predictions(paths) -> None:
    """Writes a test picture and its answer, as evaluation does, for the golden picture."""
    import pandas as pd

    from tasks.scorer.answer import Scorer
    from tests.registered import drawing

    picture = drawing.picture(4)
    paths.raw.mkdir(parents=True, exist_ok=True)
    (paths.raw / "0.png").write_bytes(picture)
    scorer = Scorer.load(paths.spec, paths.tuned)
    row = scorer.row(scorer.logits([picture])[0])
    del row["distribution"]
    paths.predictions.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame([{**row, "path": "0.png", "predicted": row["label"]}]).to_parquet(paths.predictions)


def with_deadly_code(tasks: Path, folder: Path) -> Path:
    """Returns a copy of the scorer's code that KILL ends."""
    shutil.copytree(tasks / "scorer", folder / "scorer", ignore=shutil.ignore_patterns("__pycache__"))
    file = folder / "scorer" / "preprocessing.py"
    head = "    def read(self, data: bytes) -> Tensor:\n"
    source = file.read_text()
    assert head in source
    kill = f"        if {KILL!r} in data:\n            import os\n            os.kill(os.getpid(), 9)\n"
    file.write_text(source.replace(head, head + kill))
    return folder


def promote(number: str) -> None:
    from flows.registry.aliases import CHAMPION
    from flows.registry.ledger import Ledger
    from flows.registry.ledger_lines import Event
    from flows.registry.ledger_owner import ledger_path
    from flows.registry.promotion import reconcile
    from flows.registry.records import Statement, state
    from flows.registry.store import client

    version = client().get_model_version(MODEL, number)
    state(version, Statement(Event.JUDGED, "pass", "it is better", Ledger(ledger_path(MODEL)).live, proved=True))
    client().set_registered_model_alias(MODEL, CHAMPION, number)
    entry = reconcile(MODEL, person_decides=False)[-1]  # one before may correct a planted alias
    assert entry["live"] == number, entry


def rollback() -> None:
    from flows.registry.promotion import roll_back

    roll_back(MODEL)


def plant(number: str) -> None:
    from flows.registry.store import client

    client().set_registered_model_alias(MODEL, "live", number)


def main(count: str, architecture: str, side: str) -> None:
    folder = Path(".registry").resolve()
    folder.mkdir(exist_ok=True)
    register(int(count), architecture, int(side), folder)
    acts = {"promote": promote, "rollback": rollback, "plant": plant}
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        act, *arguments = line.split()
        acts[act](*arguments)
        print(json.dumps("done"), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
