"""The end of a history: faults cease, and everything comes to rest."""

from __future__ import annotations

from contextlib import suppress

from flows.registry.aliases import CHAMPION, LIVE
from flows.registry.approval import accept_ledger
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import Entry, Event
from flows.registry.promotion import reconcile
from flows.registry.tags import MAX_TAG_LENGTH, Tag
from tasks.core.errors import RootstockError
from tests.simulation.actions import said_to_be_live, say
from tests.simulation.world import MODEL, World

EVERY = 5  # histories, after which it is checked whether a good version still goes live: it takes two thirds as long


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
    ledger = Ledger(world.ledger)
    live = ledger.live
    assert aliases.get(LIVE) == (live.number if live else None)
    assert aliases.get(CHAMPION) in {None, aliases.get(LIVE)}
    check_tag(world, ledger.last_but_corrections())
    if world.seed % EVERY == 0:
        check_life(world)


def check_tag(world: World, last: Entry | None) -> None:
    """Checks that the version of the last answer is tagged with it, also if the answer was interrupted."""
    is_made_again = "make_again" in world.trace  # the answer may be about the one before, with the same number
    if last and last["event"] in {Event.RELEASED, Event.REFUSED} and not is_made_again:
        version = world.registry.models[MODEL].versions.get(last["version"])
        outcome = f"{last['event']}: {last['why']}"[:MAX_TAG_LENGTH]
        assert version is None or version.tags.get(Tag.RELEASE) == outcome, (version, outcome)


def check_life(world: World) -> None:
    """Checks that a good version still goes live."""
    version = world.registry.create(MODEL, **{Tag.KEY: "of a result"})
    say(world, version, Event.REGISTERED, "registered", proved=True)
    say(world, version, Event.JUDGED, "pass", proved=True)
    world.registry.models[MODEL].aliases[CHAMPION] = version.version
    reconcile(MODEL, person_decides=False, ledger_file=world.ledger)
    world.rules.check_lines()
    assert world.registry.models[MODEL].aliases.get(LIVE) == version.version, "a good version was refused"
