"""The graph in dvc.yaml (order, files, code and parameters) is checked against the stages' behavior."""

from __future__ import annotations

import hashlib
import re
import shutil
from datetime import date
from itertools import pairwise
from pathlib import Path

import pytest
from ruamel.yaml import YAML
from safetensors.numpy import load_file, save_file

from flows.config.parameters import FlowParams, stage_params
from flows.registry.trusted_code import SHIPPED, code_digest, is_trusted
from tasks.core.digest import closure
from tasks.core.files import read_json, write_text
from tasks.core.params import PINS, Section
from tasks.core.schema import STAGES
from tasks.evaluation.scorer_code import read_code
from tasks.scorer.answer import FORMAT
from tests.project import Project, run_python

ROOT = Path(__file__).parents[1]
GRAPH = YAML(typ="safe").load(ROOT / "dvc.yaml")["stages"]
PARAMS = YAML(typ="safe").load(ROOT / "params.yaml")
PACKAGES = sorted(str(file.relative_to(ROOT)) for file in (ROOT / "tasks").rglob("__init__.py"))
assert PACKAGES, "no package lies in tasks/"
RUNNER = (
    *(*PACKAGES, "tasks/__main__.py", "tasks/runner/fork_client.py", "tasks/runner/stages.py"),
    *("tasks/core/supervision.py", "tasks/core/interpreter.py"),
    *("tasks/core/sections.py", "tasks/core/sizing.py", "tasks/data/counts.py"),
    *("tasks/hardware/heap.py", "tasks/hardware/torchvision_import.py"),
)

KEEPING = {"ingest", "features", "finetune"}  # stages that keep state between runs


def resolved(text: str) -> str:
    return re.sub(r"\$\{paths\.(\w+)\}", lambda match: PARAMS["paths"][match[1]], text)


def deps(stage: str) -> list[str]:
    return [resolved(dep) for dep in GRAPH[stage]["deps"]]


def outs(stage: str) -> list[str]:
    return [resolved(out) for out in GRAPH[stage]["outs"]]


def code_of(stage: str) -> list[str]:
    """Returns the code deps that dvc.yaml must declare: the stage's import closure, relative to the root."""
    return [str(file.relative_to(ROOT)) for file in closure(f"tasks.{stage}")]


def with_code_deps(text: str) -> str:
    """Returns dvc.yaml with each stage's code deps taken from its imports; all else, even comments, is unchanged."""
    lines: list[str] = []
    stage, listing = "", False
    for line in text.splitlines():
        if named := re.fullmatch(r"  (\w+):", line):
            stage = named[1]
        if listing and not line.startswith("      - "):
            lines += [f"      - {file}" for file in code_of(stage)]
        listing = line == "    deps:" or (listing and line.startswith("      - "))
        if not re.fullmatch(r"      - tasks/\S+\.py", line):
            lines.append(line)
    return "\n".join(lines) + "\n"


def test_the_stages_are_the_graphs_in_order():
    assert tuple(GRAPH) == STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_the_command_is_always_the_same(stage):
    assert GRAPH[stage]["cmd"] == f"python -m tasks {stage}"


@pytest.mark.parametrize("stage", STAGES)
def test_code_dependencies_are_the_import_closure(stage):
    code = [dep for dep in deps(stage) if dep.endswith(".py")]
    assert len(code) > 5
    assert code == code_of(stage), "make graph writes dvc.yaml anew"


def test_the_graph_is_written_as_it_stands():
    text = (ROOT / "dvc.yaml").read_text(encoding="utf-8")
    assert with_code_deps(text) == text, "make graph writes dvc.yaml anew"
    emptied = re.sub(r"      - tasks/\S+\.py\n", "", text)
    assert with_code_deps(emptied) == text


@pytest.mark.parametrize(("before", "after"), list(pairwise(STAGES)))
def test_each_stage_reads_what_the_one_before_wrote(before, after):
    """An outdated stage therefore invalidates every stage after it."""
    assert any(Path(dep).is_relative_to(out) for dep in deps(after) for out in outs(before))


@pytest.mark.parametrize("stage", STAGES)
def test_declared_parameters_are_what_the_class_reads(stage):
    declared = [name for name in GRAPH[stage].get("params", []) if isinstance(name, str)]
    assert declared == list(stage_params(stage).sections())


def test_every_section_is_typed_and_every_key_documented_by_its_class():
    classes = [FlowParams, *(stage_params(stage) for stage in STAGES)]
    assert {key.partition(".")[0] for params in classes for key in params.sections()} == set(PARAMS)


@pytest.mark.parametrize("stage", STAGES)
def test_every_parameter_of_a_section_is_read(stage):
    """Each field is read by the code of a stage that declares its section, or by the import of data."""
    brought_in = [str(file) for file in (ROOT / "flows" / "sources").glob("*.py")]
    assert brought_in
    for name, field in stage_params(stage).model_fields.items():
        section = field.annotation
        if not (isinstance(section, type) and issubclass(section, Section)):
            continue
        stages = [GRAPH[other] for other in STAGES if name in stage_params(other).model_fields]
        code = {str(dep) for entry in stages for dep in entry["deps"] if str(dep).endswith(".py")}
        sources = [(ROOT / file).read_text() for file in sorted(code | {*brought_in})]
        unread = [key for key in section.model_fields if not any(re.search(rf"\.{key}\b", text) for text in sources)]
        assert not unread, f"nothing reads {unread} of {name}"


def test_declared_pins_are_committed_as_nulls():
    declared = {
        key
        for stage in STAGES
        for entry in GRAPH[stage].get("params", [])
        if isinstance(entry, dict)
        for key in entry[str(PINS)]
    }
    assert read_json(ROOT / PINS).keys() >= declared


class Room:
    """A folder that contains only one stage's declared dependencies and the code that runs it."""

    def __init__(self, root: Path, stage: str, finished: Project) -> None:
        self.root, self.stage, self.finished = root, stage, finished
        for dep in (*deps(stage), *RUNNER, "params.yaml", *pins(stage)):
            target = root / dep
            target.parent.mkdir(parents=True, exist_ok=True)
            source = finished.root / dep
            shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)
        self.before = self.files()

    def files(self) -> dict[str, bytes]:
        """Returns all files except those below .state, which are disposable."""
        paths = (path for path in self.root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
        return {str(path.relative_to(self.root)): path.read_bytes() for path in paths if ".state" not in path.parts}

    def run(self) -> dict[str, bytes]:
        """Runs the stage. Returns the files that it writes, by path."""
        for out in outs(self.stage):
            shutil.rmtree(self.root / out, ignore_errors=True)
        done = run_python(self.root, "-m", "tasks", self.stage)
        assert done.returncode == 0, done.stdout + done.stderr
        return {path: data for path, data in self.files().items() if self.before.get(path) != data}

    def expected(self) -> dict[str, bytes]:
        """Returns the stage's outputs in the finished project, by path."""
        files = (file for out in outs(self.stage) for file in (self.finished.root / out).rglob("*") if file.is_file())
        recorded = {str(file.relative_to(self.finished.root)): file.read_bytes() for file in files}
        assert recorded, f"{self.stage} wrote nothing"
        return recorded


def pins(stage: str) -> list[str]:
    return [name for entry in GRAPH[stage].get("params", []) if isinstance(entry, dict) for name in entry]


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_needs_its_dependencies_only_and_writes_the_same_bytes(stage, finished, tmp_path):
    room = Room(tmp_path / "room", stage, finished)
    assert room.run() == room.expected(), "with an empty store"
    if stage in KEEPING:
        pollute(tmp_path / "room" / PARAMS["paths"]["state"])
        assert room.run() == room.expected(), "with a polluted store"


def test_only_these_stages_keep_anything(finished):
    state = finished.root / PARAMS["paths"]["state"]
    assert {path.name for path in state.iterdir()} <= {
        "CACHEDIR.TAG",
        "facts",
        "features",
        "logs",
        "predict",
        "reports",
        "result.md",
        "source",
        "flow.json",
        "flow.lock",
        "flow_run.json",
        "stage.lock",
    }
    uses = {
        stage
        for stage in STAGES
        for file in closure(f"tasks.{stage}")
        for store in ("facts", "feature_store", "checkpoints")
        if f"paths.{store}" in file.read_text()
    }
    assert uses == KEEPING


def pollute(state: Path) -> None:
    """Falsifies a fact, removes half of the features, adds a damaged and a foreign shard and stale checkpoints."""
    for part in (state / "facts").glob("*.parquet"):
        data = bytearray(part.read_bytes())
        data[len(data) // 3] ^= 1  # in a page with a checksum
        part.write_bytes(data)
    for shard in list((state / "features").rglob("*.safetensors")):
        stored = load_file(shard)
        half = {name: value[::2].copy() for name, value in stored.items()}
        checksum = hashlib.sha256(half["keys"].tobytes() + half["rows"].tobytes()).hexdigest()
        save_file(half, shard, {"sha256": checksum})
        (shard.parent / "zz.safetensors").write_bytes(shard.read_bytes()[:-7])
        foreign = state / "features" / ("0" * 32)
        foreign.mkdir(exist_ok=True)
        save_file({"keys": stored["keys"], "rows": stored["rows"] + 1}, foreign / "a.safetensors", {"sha256": "0"})
    for stale in ("tuned", "scratch"):
        target = state / "checkpoints" / "another" / f"{stale}.safetensors"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(b"not a checkpoint of ours")


def present_scorer() -> dict[str, bytes]:
    return read_code(ROOT / "tasks", f'{{"format": {FORMAT}}}'.encode())


def test_the_present_scorer_is_in_the_list_of_those_that_may_run():
    assert is_trusted(code_digest(present_scorer())), "make graph adds it"


if __name__ == "__main__":
    DVC_YAML = ROOT / "dvc.yaml"
    write_text(DVC_YAML, with_code_deps(DVC_YAML.read_text(encoding="utf-8")))
    if (digest := code_digest(present_scorer())) not in (listed := SHIPPED.read_text(encoding="utf-8")):
        write_text(SHIPPED, f"{listed}{digest}  {date.today()}, format {FORMAT}\n")
