"""The end of a history: faults cease, and everything comes to rest."""

from __future__ import annotations

from contextlib import suppress

from flows.registry.aliases import CHAMPION, LIVE
from flows.registry.approval import accept_ledger
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import Event
from flows.registry.promotion import reconcile
from flows.registry.tags import MAX_TAG_LENGTH, Tag
from tasks.core.errors import RootstockError
from tests.simulation.actions import said_to_be_live, say
from tests.simulation.registry import key_of
from tests.simulation.rules import live_of
from tests.simulation.world import MODEL, World

DECISIONS = {Event.RELEASED, Event.REFUSED, Event.ROLLED_BACK, Event.ADOPTED, Event.DELETED, Event.ACCEPTED}
EVERY = 5  # histories after which it is checked whether a good version still goes live: it takes long


def calm(world: World) -> None:
    """Without faults, everything comes to rest: the alias is where the ledger says, and no request is left."""
    if world.is_forged:  # as the message says
        world.registry.models[MODEL].tags.pop(Tag.LEDGER, None)
    with suppress(RootstockError):
        accept_ledger(MODEL, said_to_be_live(world), "because", world.ledger)
    world.is_damaged = world.is_forged = world.must_stop = False
    aliases = world.registry.models[MODEL].aliases
    try:
        entries = reconcile(MODEL, person_decides=world.rules.person_decides, ledger_file=world.ledger)
    except RootstockError as error:
        assert error.key == "live-unrecorded", error  # noqa: PT017
        del aliases[LIVE]  # as the message says
        entries = reconcile(MODEL, person_decides=world.rules.person_decides, ledger_file=world.ledger)
    world.rules.check_lines()
    again = reconcile(MODEL, person_decides=world.rules.person_decides, ledger_file=world.ledger)
    assert again == [], (entries, again)
    live = Ledger(world.ledger).live
    assert aliases.get(LIVE) == (live.number if live else None)
    assert aliases.get(CHAMPION) in {None, aliases.get(LIVE)}
    check_tags(world)
    if world.seed % EVERY == 0:
        check_life(world)


def check_tags(world: World) -> None:
    """Checks that no tag claims a false release, and that the last answer has its tag, also if it was interrupted."""
    lines, versions = world.rules.lines, world.registry.models[MODEL].versions
    released = {live_of(line) for line in lines if line["event"] == Event.RELEASED}
    is_whole = not {"cut_ledger", "tamper"} & set(world.trace)
    for version in versions.values():
        is_tagged = version.tags.get(Tag.RELEASE, "").startswith(Event.RELEASED)
        assert not (is_tagged and is_whole) or key_of(version) in released, f"{version} was never released"
    last = next((line for line in reversed(lines) if line["event"] in DECISIONS), None)
    if last and last["event"] in {Event.RELEASED, Event.REFUSED} and (version := versions.get(last["version"])):
        is_same = (
            key_of(version) == live_of(last) if last["event"] == Event.RELEASED else "make_again" not in world.trace
        )
        outcome = f"{last['event']}: {last['why']}"[:MAX_TAG_LENGTH]
        assert not is_same or version.tags[Tag.RELEASE] == outcome, version


def check_life(world: World) -> None:
    """Checks that a good version still goes live."""
    version = world.registry.create(MODEL, **{Tag.KEY: "of a result"})
    say(world, version, Event.REGISTERED, "registered", proved=True)
    say(world, version, Event.JUDGED, "pass", proved=True)
    world.registry.models[MODEL].aliases[CHAMPION] = version.version
    reconcile(MODEL, person_decides=False, ledger_file=world.ledger)
    world.rules.check_lines()
    assert world.registry.models[MODEL].aliases.get(LIVE) == version.version, "a good version was refused"
