"""A history: machines, people and attackers act on one registry, with crashes, outages and races drawn by a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from mlflow.exceptions import MlflowException

from flows.registry.aliases import CHAMPION, LIVE, PRODUCTION
from flows.registry.approval import accept_ledger, approve
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import Event, LedgerError
from flows.registry.ledger_owner import OtherLedgerError, locked_ledger
from flows.registry.promotion import reconcile, roll_back
from flows.registry.records import Statement, state
from flows.registry.tags import Tag
from flows.registry.version_files import UNREADABLE
from flows.registry.version_record import LiveVersion
from flows.retention.plan import RetentionPlan
from flows.retention.removal import remove_from_mlflow
from tasks.core.errors import RootstockError
from tests.simulation.registry import MemoryRegistry, Version, key_of
from tests.simulation.rules import Rules, Truth, moves

MODEL = "rootstock"
DAY_MS = 24 * 3600 * 1000
VERDICTS = ("pass", "pass", "pass", "undecided", "refused")
TOLD = {"nothing-to-roll-back", "live-unrecorded", "version-not-found", UNREADABLE}  # keys of errors in words


class Crash(BaseException):
    """The process is killed."""


class OutageError(ConnectionError):
    """The registry does not answer."""


@dataclass
class World:
    """A history drawn by a seed. The machine `home` owns the ledger, `lab` trains elsewhere."""

    folder: Path
    seed: int
    machine: str = "home"
    is_damaged: bool = False  # the ledger was cut
    seen: int = 0  # lines of the ledger after the last action that was not interrupted
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

    @contextmanager
    def disturbed(self) -> Iterator[None]:
        """Draws one disturbance inside of an action: none, a crash, an outage, or somebody else's action."""
        kind = self.draw.choice(("none", "none", "crash", "crash", "outage", "other"))
        self.plan = {"none": None, "crash": _crash, "outage": _outage, "other": self.other}[kind]
        self.steps = self.draw.randrange(24)
        try:
            yield
        except Crash:
            self.trace.append("  crash")
        except (OutageError, OtherLedgerError) as error:
            self.trace.append(f"  {type(error).__name__}")
        except LedgerError as error:
            assert self.is_damaged, error  # noqa: PT017 - the error of an action, not of a test
        except RootstockError as error:
            assert error.key in TOLD, error  # noqa: PT017
            self.trace.append(f"  {error.key}")
        except MlflowException as error:  # somebody deleted the version in the middle
            assert error.error_code == "RESOURCE_DOES_NOT_EXIST", error  # noqa: PT017
            self.trace.append(f"  {error}")
        else:
            self.plan = None
            self.rules.check_lines()
            self.seen = len(self.rules.lines) if self.machine == "home" else self.seen
        finally:
            self.plan = None
        self.rules.check_lines()

    def any_version(self) -> Version | None:
        versions = list(self.registry.models[MODEL].versions.values())
        return self.draw.choice(versions) if versions else None

    # --- actions of machines

    def train(self) -> None:
        """Registers a version and judges it against the alias live."""
        self.registry.now += self.draw.choice((7, 7, 7, 7, DAY_MS, -DAY_MS + 3))
        version = self.registry.create(MODEL, **{Tag.KEY: "of a result"})
        with self.as_machine(self.draw.choice(("home", "home", "lab"))), self.disturbed():
            self.say(version, Event.REGISTERED, "registered", proved=True)
            self.say(version, Event.JUDGED, self.draw.choice(VERDICTS), proved=self.draw.random() < 0.9)

    def judge(self) -> None:
        if version := self.any_version():
            with self.as_machine(self.draw.choice(("home", "home", "lab"))), self.disturbed():
                self.say(version, Event.JUDGED, self.draw.choice(VERDICTS), proved=True)

    def say(self, version: Version, event: Event, verdict: str, *, proved: bool) -> None:
        at = self.registry.models[MODEL].aliases.get(LIVE)
        other = self.registry.models[MODEL].versions.get(at) if at else None
        against = LiveVersion(number=other.version, made=other.creation_timestamp) if other else None
        truth = Truth(version.files, verdict, proved, key_of(other) if other else None, self.machine)
        self.rules.add(version, truth)  # whoever crashes now may have written it
        state(
            version, Statement(event, verdict, "because", against, proved=proved), self.folder / f"{self.machine}.jsonl"
        )
        truth.is_certain = True

    def release(self) -> None:
        with self.disturbed():
            reconcile(MODEL, person_decides=self.rules.person_decides, ledger_file=self.ledger)
            assert not self.must_stop, "a ledger that was cut released something"

    def release_elsewhere(self) -> None:
        """The other machine was told to release, too."""
        with self.as_machine("lab"), self.disturbed(), suppress(RootstockError):
            if Ledger(self.ledger, check=False).releases and Tag.LEDGER in self.registry.models[MODEL].tags:
                reconcile(MODEL, person_decides=True, ledger_file=self.folder / "lab.jsonl")

    def go_back(self) -> None:
        with self.disturbed():
            roll_back(MODEL, self.ledger)

    def prune(self) -> None:
        """Removes what an earlier plan had, as the weekly run does."""
        with self.disturbed():
            remove_from_mlflow(RetentionPlan(versions=self.stale), MODEL, self.ledger)
        live = Ledger(self.ledger, check=False).live
        used = {*self.registry.models[MODEL].aliases.values(), live.number if live else ""}
        unused = [each for each in self.registry.models[MODEL].versions.values() if each.version not in used]
        self.stale = tuple(each.copied() for each in unused[:1])

    # --- actions of people

    def request(self) -> None:
        if version := self.any_version():
            self.registry.models[MODEL].aliases[CHAMPION] = version.version

    def copy(self) -> None:
        if version := self.any_version():
            self.registry.create(f"{MODEL}{PRODUCTION}", f"models:/{MODEL}/{version.version}")

    def approve(self) -> None:
        if version := self.any_version():
            with self.disturbed():
                live = Ledger(self.ledger).live
                against = (live.number, live.made) if live else None
                truth = Truth(version.files, "approved", True, against, "home", moves=moves(self.rules.lines))
                self.rules.add(version, truth)
                approve(MODEL, version.version, "because", self.ledger)

    def delete(self) -> None:
        if version := self.any_version():
            self.registry.plan = None
            MemoryRegistry.delete_model_version(self.registry, MODEL, version.version)

    def make_again(self) -> None:
        """Deletes the model: numbers begin at 1 again."""
        if self.draw.random() < 0.2:
            del self.registry.models[MODEL]
            self.must_stop = False  # a registry that is gone takes its ledger with it
            self.registry.create_model(MODEL)
            if self.ledger.exists() and self.draw.random() < 0.5:
                self.registry.create(MODEL)

    # --- actions of attackers, mistakes and faults

    def move_live(self) -> None:
        if version := self.any_version():
            self.registry.models[MODEL].aliases[LIVE] = version.version
        if self.draw.random() < 0.3:
            self.registry.models[MODEL].aliases.pop(LIVE, None)

    def forge_tags(self) -> None:
        if version := self.any_version():
            version.tags |= {Tag.VERDICT: "pass", Tag.PROOF: "passed", Tag.VERDICT_AGAINST: "none"}

    def swap_records(self) -> None:
        """Puts an older record back, or that of another version."""
        one, other = self.any_version(), self.any_version()
        source = self.draw.choice((one, other))
        if source and (texts := self.registry.written.get(source.run_id)):
            name = f"records/{MODEL}-{other.version}.json"
            self.registry.artifacts[other.run_id][name] = self.draw.choice(texts)

    def tamper(self) -> None:
        if version := self.any_version():
            version.files += "!"

    def cut_ledger(self) -> None:
        """Loses the last lines, or all."""
        if self.ledger.exists() and self.draw.random() < 0.3:
            lines = self.ledger.read_bytes().splitlines(keepends=True)
            kept = self.draw.randrange(len(lines)) if lines else 0
            self.ledger.write_bytes(b"".join(lines[:kept]))
            self.is_damaged = True
            self.rules.cut(kept)
            self.must_stop = kept < self.seen

    def accept(self) -> None:
        with self.disturbed(), suppress(RootstockError):
            accept_ledger(MODEL, "because", self.ledger)
        with suppress(RootstockError), locked_ledger(MODEL, self.ledger):
            self.is_damaged = self.must_stop = False

    def other(self) -> None:
        """Somebody else acts in the middle of an action."""
        self.draw.choice((self.request, self.copy, self.delete, self.move_live, self.forge_tags, self.swap_records))()

    ACTIONS = (
        *(train, train, train, judge, request, request, release, release, release, copy, go_back, prune, approve),
        *(delete, make_again, move_live, forge_tags, swap_records, tamper, cut_ledger, accept, release_elsewhere),
    )

    @contextmanager
    def as_machine(self, name: str) -> Iterator[None]:
        before, self.machine = self.machine, name
        try:
            yield
        finally:
            self.machine = before

    def run(self, actions: int) -> None:
        """Lets drawn actions happen, then calm return, and checks the rules."""
        for _ in range(actions):
            action = self.draw.choice(self.ACTIONS)
            self.trace.append(action.__name__)
            action(self)
            self.rules.check_lines()
        self.calm()

    def calm(self) -> None:
        """Without faults, everything comes to rest: the alias is where the ledger says, and no request is left."""
        with suppress(RootstockError):
            accept_ledger(MODEL, "because", self.ledger)
        self.is_damaged = self.must_stop = False
        aliases = self.registry.models[MODEL].aliases
        try:
            entries = reconcile(MODEL, person_decides=self.rules.person_decides, ledger_file=self.ledger)
        except RootstockError as error:
            assert error.key == "live-unrecorded", error  # noqa: PT017
            del aliases[LIVE]  # as the message says
            entries = reconcile(MODEL, person_decides=self.rules.person_decides, ledger_file=self.ledger)
        self.rules.check_lines()
        again = reconcile(MODEL, person_decides=self.rules.person_decides, ledger_file=self.ledger)
        assert again == [], (entries, again)
        live = Ledger(self.ledger).live
        assert aliases.get(LIVE) == (live.number if live else None)
        assert aliases.get(CHAMPION) in {None, aliases.get(LIVE)}
        self.check_life()

    def check_life(self) -> None:
        """Checks that a good version still goes live."""
        version = self.registry.create(MODEL, **{Tag.KEY: "of a result"})
        self.say(version, Event.REGISTERED, "registered", proved=True)
        self.say(version, Event.JUDGED, "pass", proved=True)
        self.registry.models[MODEL].aliases[CHAMPION] = version.version
        reconcile(MODEL, person_decides=False, ledger_file=self.ledger)
        self.rules.check_lines()
        assert self.registry.models[MODEL].aliases.get(LIVE) == version.version, "a good version was refused"


def _crash() -> None:
    raise Crash


def _outage() -> None:
    raise OutageError
