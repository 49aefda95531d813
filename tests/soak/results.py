"""The result file, from which an interrupted soak goes on, and the table at its end."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from tasks.core.schema import STAGES
from tests.soak.cycle import Outcome
from tests.soak.draw import GATE, REGISTER, SHORT, Moment

SHOWN = 200  # characters of a problem


class Results:
    """The outcomes so far, a JSON line each."""

    def __init__(self, file: Path) -> None:
        self.file = file
        lines = file.read_text().splitlines() if file.exists() else []
        self.outcomes = {outcome.number: outcome for line in lines if (outcome := _read(line))}

    def add(self, outcome: Outcome) -> None:
        self.outcomes[outcome.number] = outcome
        self.file.parent.mkdir(parents=True, exist_ok=True)
        text = self.file.read_text() if self.file.exists() else ""
        torn = "\n" if text and not text.endswith("\n") else ""  # the soak was killed while it wrote the last line
        with self.file.open("a") as file:
            file.write(f"{torn}{json.dumps(outcome._asdict())}\n")


def _read(line: str) -> Outcome | None:
    """Returns the outcome of a line; None if the soak was killed while it wrote it."""
    try:
        values = json.loads(line)
    except ValueError:
        return None
    values["hits"] = [tuple(hit) for hit in values["hits"]]
    values["problems"] = [tuple(problem) for problem in values["problems"]]
    return Outcome(**values)


def line_of(outcome: Outcome) -> str:
    """Returns a line about one cycle."""
    hits = ", ".join(f"{blow} {victim} in {phase}" for victim, blow, phase in outcome.hits)
    what = (outcome.condition or hits or "no fault hit") + (f", {outcome.note}"[:SHOWN] if outcome.note else "")
    state = "left out: " + outcome.left_out if outcome.left_out else "ok"
    if outcome.problems:
        state = "BROKEN"
    broken = "".join(f"\n      {name}: {text[:SHOWN]}" for name, text in outcome.problems)
    return f"{outcome.number:>4}  {outcome.scenario}: {what} ({outcome.seconds:.0f} s)  {state}{broken}"


def group_of(phase: str) -> str:
    """Returns what a phase belongs to: stages, registration, gate, release, or the rest."""
    if phase in STAGES:
        return "stages"
    if phase in {REGISTER, Moment.VERSION, Moment.PROOF, Moment.ALIAS}:
        return "registration"
    if phase in {GATE, Moment.VERDICT}:
        return "gate"
    if phase in {"release", "rollback", Moment.LEDGER, Moment.LIVE, Moment.CHAMPION}:
        return "release"
    return "prune" if phase == Moment.REMOVED else phase if phase in {*SHORT, "promote"} else "outside"


def table(outcomes: Iterable[Outcome], how: str) -> str:
    """Returns what was hit, and what broke with the command that repeats it."""
    done = sorted(outcomes, key=lambda outcome: outcome.number)
    hits = [hit for outcome in done for hit in outcome.hits]
    lines = [f"{len(done)} cycles, {len(hits)} blows, {sum(outcome.missed for outcome in done)} missed their victim"]
    for name, values in (
        ("victim", Counter(victim for victim, _, _ in hits)),
        ("signal", Counter(blow for _, blow, _ in hits)),
        ("phase", Counter(group_of(phase) for _, _, phase in hits)),
        ("stage", Counter(phase for _, _, phase in hits if phase in STAGES)),
        ("condition", Counter(outcome.condition for outcome in done if outcome.condition and not outcome.left_out)),
    ):
        lines.append(f"{name:<10}" + ", ".join(f"{key} {count}" for key, count in values.most_common()))
    left_out = {f"{outcome.condition}: {outcome.left_out}" for outcome in done if outcome.left_out}
    broken = [(outcome, problem) for outcome in done for problem in outcome.problems]
    lines += [f"left out  {reason}" for reason in sorted(left_out)]
    lines += [f"invariants broken: {len(broken)}, in {len({outcome.number for outcome, _ in broken})} cycles"]
    lines += [f"  {name}: {text[:SHOWN]}\n    {how} --only {o.number}" for o, (name, text) in broken]
    return "\n".join(lines)
