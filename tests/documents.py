"""README, CONTRIBUTING and docs/ as their tests read them: pages, fenced blocks, commands, parameters."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

from tests.project import ROOT

PAGES = {
    name: (ROOT / name).read_text(encoding="utf-8")
    for name in (
        *("README.md", "CONTRIBUTING.md", "data/README.md", "tests/benchmarks/README.md"),
        *sorted(str(file.relative_to(ROOT)) for file in (ROOT / "docs").rglob("*.md")),
    )
}
FENCE = re.compile(r"(?:^<!-- not run: (.+) -->\n)?^```(.*)\n((?:.*\n)*?)^```$", re.MULTILINE)
# Commands that write params.yaml and then compute for a long time: tests only apply the overrides.
OVERRIDING = (["make", "run"], ["make", "data"], ["make", "compare"], [".venv/bin/python", "-m", "flows", "retrain"])
# Run by tests/end_to_end/test_documents.py in this order: exit code, and text that the output contains.
RUN = {
    "make release": (0, "version 1 released: by alias champion"),
    'make predict ARGS="picture.jpg"': (0, "(version 1 of rootstock)"),
    'make predict ARGS="../folder --model challenger"': (0, "answers by version 1"),
    'make predict ARGS="../folder --model challenger --out ../answers"': (0, "answers by version 1"),
    "make rollback": (2, "cannot roll back"),
    "make doctor": (0, "params.yaml is valid"),
    "make data && source .venv/bin/activate && dvc repro": (0, "Data and pipelines are up to date."),
    ".venv/bin/pre-commit install": (0, "pre-commit installed"),
    "make prune": (0, "nothing was removed; to do it: make prune ARGS=--yes"),
    "make down": (0, "nothing was running"),
    "make clean": (0, "nothing was running"),
}
# Run by other tests or by the merge checks: the file, and the text that runs the command there.
RUN_ELSEWHERE = {
    "make run": (".ci/run", "make run\n"),
    "make test": (".ci/run", "make test "),
    "make test ARGS=\"-m 'not gpu'\"": (".ci/run", "make test ARGS=\"-m 'not gpu'"),
    "make lint": (".ci/run", "make lint\n"),
    "make up": ("tests/whole_runs.py", 'flows("up")'),
    "make compare": ("tests/flows/comparison/test_trials.py", 'flows("compare")'),
    "deploy/ci/run.sh": ("tests/deploy/test_ci.py", 'script("run.sh"'),
    "deploy/ci/trigger.sh": ("tests/deploy/test_ci.py", 'script("trigger.sh"'),
    "deploy/ci/pictures.sh": ("tests/deploy/test_ci.py", 'script("pictures.sh"'),
}


class Block(NamedTuple):
    """A fenced block: its page, its language, its text, and the reason if it is marked as not run."""

    page: str
    language: str
    text: str
    not_run: str


def blocks() -> list[Block]:
    """Returns the fenced blocks of all pages."""
    return [
        Block(page, match[2], match[3], match[1] or "")
        for page, text in PAGES.items()
        for match in FENCE.finditer(text)
    ]


def commands() -> list[str]:
    """Returns the distinct commands of all unmarked blocks, without comments."""
    lines = [
        line
        for block in blocks()
        if block.language == "sh" and not block.not_run
        for line in re.sub(r"\\\n\s*", "", block.text).splitlines()
    ]
    return list(dict.fromkeys(re.sub(r"\s+#.*", "", line).strip() for line in lines))


def overrides(command: str) -> list[str]:
    """Returns a command's overrides, `--section.key value` pairs, as a flat list; empty if it takes none."""
    words = shlex.split(command)
    for start in OVERRIDING:
        if words[: len(start)] == start:
            rest = words[len(start) :]
            if start[0] != "make":
                return rest
            return shlex.split(rest[0].removeprefix("ARGS=")) if len(rest) == 1 else []
    return []


def prose(text: str) -> str:
    """Returns a page without its fenced blocks."""
    return FENCE.sub("", text)


def slug(heading: str) -> str:
    """Returns GitHub's anchor for a heading."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def anchors(page: Path) -> set[str]:
    """Returns the anchors for a page's headings."""
    text = prose(page.read_text(encoding="utf-8"))
    return {slug(heading) for heading in re.findall(r"^#+ (.+)$", text, re.MULTILINE)}
