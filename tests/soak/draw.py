"""Draws cycles: the same seed and number give the same cycle, so that any cycle can be repeated alone."""

from __future__ import annotations

import random
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

from tasks.core.schema import STAGES

T = TypeVar("T")
START, SOURCE, REGISTER, GATE, END = "start", "source", "register", "gate", "end"
PHASES = (START, SOURCE, *STAGES, REGISTER, GATE)  # of a retraining, in order


class Victim(StrEnum):
    """A process that a fault hits."""

    FLOW = "flow"  # the command itself
    DVC = "dvc"
    STAGE = "stage"
    FORKER = "fork server"
    TEMPORARY = "temporary server"
    PREFECT = "prefect"
    MLFLOW = "mlflow"
    WORKER = "worker"
    WATCHER = "watcher"


class Blow(StrEnum):
    """What a fault does to its victim."""

    KILL = "KILL"
    TERM = "TERM"
    INT = "INT twice"
    HUP = "HUP"
    STOP = "STOP, CONT"


class Moment(StrEnum):
    """A change on disk at which a fault is due; the phases in between are too short to meet them by time."""

    VERSION = "version created"
    PROOF = "version proved"
    ALIAS = "challenger set"
    VERDICT = "verdict written"
    LEDGER = "ledger written"
    LIVE = "live moved"
    CHAMPION = "champion moved"
    REMOVED = "version removed"


@dataclass(frozen=True)
class Fault:
    """A blow to a victim in a phase: after a fraction of its usual length, or right after a moment in it."""

    victim: Victim
    blow: Blow
    phase: str
    fraction: float
    pause: float  # seconds between two INTs, or between STOP and CONT
    moment: Moment | None = None


@dataclass(frozen=True)
class Cycle:
    """A scenario with its faults, or a scenario whose condition is made by its own function."""

    number: int
    scenario: str
    servers: str = "shared"  # shared: the soak's Prefect server; temporary: the command's own; up: all of make up
    retries: int = 0
    faults: tuple[Fault, ...] = ()
    condition: str | None = None
    variant: float = 0.0  # decides within a condition


CHANGES = {"fresh": 8, "source": 4, "views": 3, "head": 3, "finetune": 3, "evaluate": 2}  # of retrainings
SHORT = {"release": 4, "rollback": 2, "prune": 1, "predict": 2}  # other commands
SERVED = {"promote": 1, "served retrain": 1}  # with make up
CONDITIONS = {  # and the scenario that meets it
    "disk full in a stage": "views",
    "disk full at registration": "evaluate",
    "data read-only": "head",
    "image vanishes": "source",
    "two retrainings": "evaluate",
    "two checkouts, one database": "evaluate",
    "two checkouts, one server": "evaluate",
    "two predictions": "predict",
    "pins corrupt": "evaluate",
    "dvc.lock corrupt": "head",
    "checkpoint corrupt": "finetune",
    "features corrupt": "views",
    "ledger cut": "release",
    "mlflow.db corrupt": "evaluate",
    "prefect.db corrupt": "evaluate",
    "clock jumps": "head",
}
FIRST_STAGE = {"fresh": "ingest", "source": "ingest", "views": "augment", "head": "head", "finetune": "finetune"}
DECK = tuple(
    [("kills", name) for name, count in {**CHANGES, **SHORT, **SERVED}.items() for _ in range(count)]
    + [("condition", name) for name in CONDITIONS]
)
BLOWS = {Blow.KILL: 5, Blow.TERM: 3, Blow.INT: 2, Blow.HUP: 2, Blow.STOP: 2}
IN_STAGE = {Victim.FLOW: 4, Victim.STAGE: 4, Victim.DVC: 3, Victim.FORKER: 2, Victim.TEMPORARY: 2}
ELSEWHERE = {Victim.FLOW: 6, Victim.DVC: 1, Victim.TEMPORARY: 1}
SECONDS = {Blow.INT: (0.02, 1.5), Blow.STOP: (1.0, 5.0)}
IN_REGISTER = (None, None, None, Moment.VERSION, Moment.PROOF, Moment.ALIAS)
IN_GATE = (None, Moment.VERDICT)
MOMENTS = {
    "release": (None, Moment.LEDGER, Moment.LIVE, Moment.CHAMPION),
    "rollback": (None, Moment.CHAMPION, Moment.LEDGER, Moment.LIVE),
    "prune": (None, Moment.REMOVED),
}


def draw(seed: int, number: int) -> Cycle:
    """Returns the cycle with this number. Each deck of cycles has every kind as often as the tables above say."""
    deck, place = divmod(number, len(DECK))
    order = random.Random(f"{seed} deck {deck}").sample(DECK, len(DECK))
    kind, name = order[place]
    rng = random.Random(f"{seed} cycle {number}")
    if kind == "condition":
        return Cycle(number, CONDITIONS[name], condition=name, variant=rng.random())
    if name in CHANGES:
        return _retraining(rng, number, name)
    if name in SERVED:
        return Cycle(number, name, "up", faults=tuple(_served_faults(rng, name)), variant=rng.random())
    faults = tuple(_short_fault(rng, name) for _ in range(rng.randint(2, 4)))
    return Cycle(number, name, faults=faults, variant=rng.random())


def _retraining(rng: random.Random, number: int, scenario: str) -> Cycle:
    servers = "temporary" if rng.random() < 0.3 else "shared"
    count = rng.randint(4, 6) if scenario in {"fresh", "source"} else rng.randint(3, 5)
    phases = sorted((_phase(rng, scenario) for _ in range(count)), key=PHASES.index)
    faults = tuple(_fault(rng, phase, servers) for phase in phases)
    return Cycle(number, scenario, servers, rng.choice((0, 0, 1)), faults)


def _phase(rng: random.Random, scenario: str) -> str:
    stages = STAGES[STAGES.index(FIRST_STAGE.get(scenario, STAGES[-1])) :]
    where = rng.random()
    if where < 0.7:
        return rng.choice(stages)
    return rng.choice((REGISTER, REGISTER, GATE)) if where < 0.92 else rng.choice((START, SOURCE, SOURCE))


def _fault(rng: random.Random, phase: str, servers: str) -> Fault:
    weights = dict(IN_STAGE if phase in STAGES else ELSEWHERE)
    if servers != "temporary":
        weights.pop(Victim.TEMPORARY)
    victim, blow = _one_of(rng, weights), _one_of(rng, BLOWS)
    moments = {REGISTER: IN_REGISTER, GATE: IN_GATE}.get(phase, (None,))
    return _timed(rng, victim, blow, phase, rng.choice(moments))


def _short_fault(rng: random.Random, scenario: str) -> Fault:
    moment = rng.choice(MOMENTS.get(scenario, (None,)))
    phase = START if not moment and rng.random() < 0.2 else scenario
    return _timed(rng, Victim.FLOW, _one_of(rng, BLOWS), phase, moment)


def _served_faults(rng: random.Random, scenario: str) -> list[Fault]:
    victims = [Victim.PREFECT, Victim.MLFLOW, Victim.WORKER, Victim.WATCHER]
    blows = {Blow.KILL: 4, Blow.TERM: 2, Blow.HUP: 1, Blow.STOP: 2}
    chosen = rng.sample(victims, 4) if scenario == "promote" else [*rng.sample(victims[:2], 2), Victim.FLOW]
    phases = sorted(rng.choice(("evaluate", REGISTER)) for _ in chosen) if scenario != "promote" else ["promote"] * 4
    pairs = zip(chosen, phases, strict=True)
    return [_timed(rng, victim, _one_of(rng, blows), phase, None) for victim, phase in pairs]


def _timed(rng: random.Random, victim: Victim, blow: Blow, phase: str, moment: Moment | None) -> Fault:
    pause = rng.uniform(*SECONDS.get(blow, (0.0, 0.0)))
    return Fault(victim, blow, phase, rng.random(), pause, moment)


def _one_of(rng: random.Random, weights: dict[T, int]) -> T:
    return rng.choices(list(weights), list(weights.values()))[0]
