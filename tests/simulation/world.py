"""A history: machines, people and attackers act on one registry, with crashes, outages and races drawn by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.exceptions import MlflowException

from flows.registry import ledger_end
from flows.registry.ledger_lines import LedgerError
from flows.registry.ledger_owner import OtherLedgerError
from flows.registry.version_files import UNREADABLE
from tasks.core.errors import RootstockError
from tests.simulation.registry import MemoryRegistry, Version
from tests.simulation.rules import Rules

MODEL = "rootstock"
IN_WORDS = {
    "nothing-to-roll-back",
    "live-unrecorded",
    "version-not-found",
    UNREADABLE,
    "not-released",
    "mlflow-unreachable",
}  # keys of errors in words

Action = Callable[["World"], None]


class Crash(BaseException):
    """The process is killed."""


class OutageError(ConnectionError):
    """The registry does not answer."""


@dataclass
class World:
    """A history drawn by a seed. The machine `home` owns the ledger, `lab` trains elsewhere."""

    folder: Path
    seed: int
    others: Sequence[Action] = ()  # what somebody else may do in the middle of an action
    machine: str = "home"
    is_forged: bool = False  # the tag that names the owning ledger
    is_damaged: bool = False  # the ledger was cut
    seen: int = 0  # lines of the ledger that its user has noted after the last action that was not interrupted
    must_stop: bool = False  # and nothing may be released until a person accepts it
    trace: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.registry = MemoryRegistry(self.step)
        self.registry.create_model(MODEL)
        self.rules = Rules(self.ledger, self.registry, self.draw.random() < 0.3, self.draw.random() < 0.7)
        self.plan: Callable[[], None] | None = None
        self.steps = 0
        self.stale: tuple[Version, ...] = ()
        for file in (self.ledger, self.folder / "lab.jsonl"):
            file.unlink(missing_ok=True)

    @property
    def ledger(self) -> Path:
        return self.folder / "home.jsonl"

    def step(self, _when: str) -> None:
        """Lets what is planned happen in the middle of an action."""
        if self.plan is None:
            return
        self.steps -= 1
        if self.steps < 0:
            plan, self.plan = self.plan, None
            plan()

    def somebody_else(self) -> None:
        self.draw.choice(self.others)(self)

    @contextmanager
    def disturbed(self) -> Iterator[None]:
        """Draws one disturbance inside of an action: none, a crash, an outage, or somebody else's action."""
        kind = self.draw.choice(("none", "none", "crash", "crash", "outage", "other"))
        self.plan = {"none": None, "crash": _crash, "outage": _outage, "other": self.somebody_else}[kind]
        self.steps = self.draw.randrange(24)
        try:
            yield
        except Crash:
            self.trace.append("  crash")
        except (OutageError, OtherLedgerError) as error:
            self.trace.append(f"  {type(error).__name__}")
        except LedgerError as error:
            assert self.is_damaged or self.is_forged, error  # noqa: PT017 - the error of an action, not of a test
        except RootstockError as error:
            assert error.key in IN_WORDS, error  # noqa: PT017
            self.trace.append(f"  {error.key}")
        except MlflowException as error:  # somebody deleted the version in the middle
            assert error.error_code == "RESOURCE_DOES_NOT_EXIST", error  # noqa: PT017
            self.trace.append(f"  {error}")
        else:
            self.plan = None
            self.rules.check_lines()
            self.seen = end.lines if (end := ledger_end.noted(self.ledger)) else 0
        finally:
            self.plan = None
        self.rules.check_lines()

    def any_version(self) -> Version | None:
        versions = list(self.registry.models[MODEL].versions.values())
        return self.draw.choice(versions) if versions else None

    @contextmanager
    def as_machine(self, name: str) -> Iterator[None]:
        before, self.machine = self.machine, name
        try:
            yield
        finally:
            self.machine = before

    def run(self, actions: Sequence[Action], count: int) -> None:
        """Lets drawn actions happen, one after the other."""
        for _ in range(count):
            action = self.draw.choice(actions)
            self.trace.append(action.__name__)
            action(self)
            self.rules.check_lines()


def _crash() -> None:
    raise Crash


def _outage() -> None:
    raise OutageError
