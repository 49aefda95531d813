"""Ten cheap cycles of the soak, from a finished project: nothing that it checks is broken."""

from __future__ import annotations

import pytest

from tests.drawn import write_shapes
from tests.soak.cycle import run_cycle
from tests.soak.draw import GATE, REGISTER, Blow, Cycle, Fault, Moment, Victim
from tests.soak.workshop import Workshop

FLOW = Victim.FLOW
RELEASES = (
    (Blow.KILL, Moment.LEDGER),
    (Blow.KILL, Moment.LIVE),
    (Blow.TERM, Moment.LIVE),
    (Blow.TERM, Moment.LEDGER),
    (Blow.INT, Moment.LEDGER),
    (Blow.HUP, Moment.LIVE),
    (Blow.STOP, Moment.LEDGER),
    (Blow.KILL, None),
)
RETRAININGS = (
    (
        Fault(Victim.STAGE, Blow.KILL, "evaluate", 0.5, 0.0),
        Fault(FLOW, Blow.KILL, REGISTER, 0.9, 0.0, Moment.VERSION),
    ),
    (Fault(FLOW, Blow.KILL, GATE, 0.0, 0.0, Moment.VERDICT),),
)


def cycles() -> list[Cycle]:
    releases = [(Fault(FLOW, blow, "release", 0.3, 0.1, moment),) for blow, moment in RELEASES]
    scenarios = [("release", faults) for faults in releases] + [("evaluate", faults) for faults in RETRAININGS]
    return [Cycle(number, name, faults=faults) for number, (name, faults) in enumerate(scenarios)]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_ten_cheap_cycles_break_nothing(finished, tmp_path):
    for name in ("source", "source2", "pictures"):
        write_shapes(tmp_path / name, {"test": 1})
    workshop = Workshop(tmp_path, finished.more["PREFECT_API_URL"], bases={"seasoned": finished})
    outcomes = [run_cycle(workshop, cycle) for cycle in cycles()]
    assert [(outcome.number, *problem) for outcome in outcomes for problem in outcome.problems] == []
    assert [outcome.number for outcome in outcomes if not outcome.hits] == []
    assert len(outcomes) == 10
