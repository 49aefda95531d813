"""What machines, people, attackers and accidents do in a history."""

from __future__ import annotations

from contextlib import suppress

from flows.registry.aliases import CHAMPION, LIVE, PRODUCTION
from flows.registry.approval import accept_ledger
from flows.registry.approval import approve as approve_version
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import Event
from flows.registry.ledger_owner import _place, locked_ledger
from flows.registry.promotion import reconcile, roll_back
from flows.registry.records import Statement, state
from flows.registry.tags import Tag
from flows.registry.verdict import NONE
from flows.registry.version_record import LiveVersion
from flows.retention.plan import RetentionPlan
from flows.retention.removal import remove_from_mlflow
from tasks.core.errors import RootstockError
from tests.simulation.registry import MemoryRegistry, Version, key_of
from tests.simulation.rules import Truth, moves
from tests.simulation.world import MODEL, World

DAY_MS = 24 * 3600 * 1000
VERDICTS = ("pass", "pass", "pass", "undecided", "refused")


# --- actions of machines


def train(world: World) -> None:
    """Registers a version and judges it against the alias live."""
    world.registry.now += world.draw.choice((7, 7, 7, 7, DAY_MS, -DAY_MS + 3))
    version = world.registry.create(MODEL, **{Tag.KEY: "of a result"})
    with world.as_machine(world.draw.choice(("home", "home", "lab"))), world.disturbed():
        say(world, version, Event.REGISTERED, "registered", proved=True)
        say(world, version, Event.JUDGED, world.draw.choice(VERDICTS), proved=world.draw.random() < 0.9)


def judge(world: World) -> None:
    if version := world.any_version():
        with world.as_machine(world.draw.choice(("home", "home", "lab"))), world.disturbed():
            say(world, version, Event.JUDGED, world.draw.choice(VERDICTS), proved=True)


def say(world: World, version: Version, event: Event, verdict: str, *, proved: bool) -> None:
    at = world.registry.models[MODEL].aliases.get(LIVE)
    other = world.registry.models[MODEL].versions.get(at) if at else None
    against = LiveVersion(number=other.version, made=other.creation_timestamp) if other else None
    truth = Truth(version.files, verdict, proved, key_of(other) if other else None, world.machine)
    truth.moves = moves(world.rules.lines)
    world.rules.add(version, truth)  # whoever crashes now may have written it
    state(
        version, Statement(event, verdict, "because", against, proved=proved), world.folder / f"{world.machine}.jsonl"
    )
    truth.is_certain = True


def release(world: World) -> None:
    with world.disturbed():
        reconcile(MODEL, person_decides=world.rules.person_decides, ledger_file=world.ledger)
        assert not world.must_stop, "a ledger that was cut released something"


def release_elsewhere(world: World) -> None:
    """The other machine was told to release, too."""
    with world.as_machine("lab"), world.disturbed(), suppress(RootstockError):
        if Ledger(world.ledger, check=False).releases and Tag.LEDGER in world.registry.models[MODEL].tags:
            reconcile(MODEL, person_decides=True, ledger_file=world.folder / "lab.jsonl")


def go_back(world: World) -> None:
    with world.disturbed():
        roll_back(MODEL, world.ledger)


def prune(world: World) -> None:
    """Removes what an earlier plan had, as the weekly run does."""
    with world.disturbed():
        remove_from_mlflow(RetentionPlan(versions=world.stale), MODEL, world.ledger)
    live = Ledger(world.ledger, check=False).live
    used = {*world.registry.models[MODEL].aliases.values(), live.number if live else ""}
    unused = [each for each in world.registry.models[MODEL].versions.values() if each.version not in used]
    world.stale = tuple(each.copied() for each in unused[:1])


# --- actions of people


def request(world: World) -> None:
    if version := world.any_version():
        world.registry.models[MODEL].aliases[CHAMPION] = version.version


def copy(world: World) -> None:
    if version := world.any_version():
        world.registry.create(f"{MODEL}{PRODUCTION}", f"models:/{MODEL}/{version.version}")


def approve(world: World) -> None:
    if version := world.any_version():
        with world.disturbed():
            live = Ledger(world.ledger).live
            against = (live.number, live.made) if live else None
            truth = Truth(version.files, "approved", True, against, "home", moves=moves(world.rules.lines))
            world.rules.add(version, truth)
            approve_version(
                MODEL,
                version.version,
                "because",
                person_decides=world.rules.person_decides,
                ledger_file=world.ledger,
            )


def delete(world: World) -> None:
    if version := world.any_version():
        world.registry.plan = None
        MemoryRegistry.delete_model_version(world.registry, MODEL, version.version)


def make_again(world: World) -> None:
    """Deletes the model: numbers begin at 1 again."""
    if world.draw.random() < 0.2:
        del world.registry.models[MODEL]
        world.must_stop = False  # a registry that is gone takes its ledger with it
        world.registry.create_model(MODEL)
        if world.ledger.exists() and world.draw.random() < 0.5:
            world.registry.create(MODEL)


# --- actions of attackers, mistakes and faults


def move_live(world: World) -> None:
    if version := world.any_version():
        world.registry.models[MODEL].aliases[LIVE] = version.version
    if world.draw.random() < 0.3:
        world.registry.models[MODEL].aliases.pop(LIVE, None)


def forge_tags(world: World) -> None:
    if version := world.any_version():
        version.tags |= {Tag.VERDICT: "pass", Tag.PROOF: "passed", Tag.VERDICT_AGAINST: "none"}


def swap_records(world: World) -> None:
    """Puts an older record back, or that of another version."""
    one, other = world.any_version(), world.any_version()
    source = world.draw.choice((one, other))
    if source and (texts := world.registry.written.get(source.run_id)):
        name = f"records/{MODEL}-{other.version}-{world.draw.choice(('home', 'lab'))}.json"
        world.registry.artifacts[other.run_id][name] = world.draw.choice(texts)


def forge_owner(world: World) -> None:
    """Lets another ledger seem to own the model."""
    place, ledger = _place(world.ledger), Ledger(world.ledger, check=False).id or "x"
    tags = ("x nowhere:/x", f"x {place}", f"x {'0' * 16} {place}", f"{ledger} {'0' * 16} {place}", f"{ledger} {place}")
    world.registry.models[MODEL].tags[Tag.LEDGER] = world.draw.choice(tags)
    world.is_forged = True


def tamper(world: World) -> None:
    if version := world.any_version():
        version.files += "!"


def cut_ledger(world: World) -> None:
    """Loses the last lines, or all."""
    if world.ledger.exists() and world.draw.random() < 0.3:
        lines = world.ledger.read_bytes().splitlines(keepends=True)
        kept = world.draw.randrange(len(lines)) if lines else 0
        world.ledger.write_bytes(b"".join(lines[:kept]))
        world.is_damaged = True
        world.rules.cut(kept)
        world.must_stop = kept < world.seen


def said_to_be_live(world: World) -> str:
    at = world.registry.models[MODEL].aliases.get(LIVE)
    return at if at in world.registry.models[MODEL].versions else NONE


def accept(world: World) -> None:
    with world.disturbed(), suppress(RootstockError):
        accept_ledger(MODEL, said_to_be_live(world), "because", world.ledger)
    with suppress(RootstockError), locked_ledger(MODEL, world.ledger):
        world.is_damaged = world.is_forged = world.must_stop = False


ACTIONS = (
    *(train, train, train, judge, request, request, release, release, release, copy, go_back, prune, approve),
    *(
        delete,
        make_again,
        move_live,
        forge_tags,
        forge_owner,
        swap_records,
        tamper,
        cut_ledger,
        accept,
        release_elsewhere,
    ),
)
OTHERS = (request, copy, delete, move_live, forge_tags, swap_records)  # they may act in the middle of an action
