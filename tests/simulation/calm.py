"""The end of a history: faults cease, and everything comes to rest."""

from __future__ import annotations

from contextlib import suppress

from flows.registry.aliases import CHAMPION, LIVE
from flows.registry.approval import accept_ledger
from flows.registry.ledger import Ledger
from flows.registry.ledger_lines import Event
from flows.registry.promotion import reconcile
from flows.registry.tags import Tag
from tasks.core.errors import RootstockError
from tests.simulation.actions import said_to_be_live, say
from tests.simulation.world import MODEL, World


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
    check_life(world)


def check_life(world: World) -> None:
    """Checks that a good version still goes live."""
    version = world.registry.create(MODEL, **{Tag.KEY: "of a result"})
    say(world, version, Event.REGISTERED, "registered", proved=True)
    say(world, version, Event.JUDGED, "pass", proved=True)
    world.registry.models[MODEL].aliases[CHAMPION] = version.version
    reconcile(MODEL, person_decides=False, ledger_file=world.ledger)
    world.rules.check_lines()
    assert world.registry.models[MODEL].aliases.get(LIVE) == version.version, "a good version was refused"
