"""Cycles are drawn from seed and number alone, and hit what they should."""

from __future__ import annotations

from collections import Counter

from tasks.core.schema import STAGES
from tests.soak.conditions import CONDITIONS as CONDITION_FUNCTIONS
from tests.soak.draw import CONDITIONS, DECK, GATE, PHASES, REGISTER, SHORT, Victim, draw
from tests.soak.results import group_of
from tests.soak.scenarios import scenarios, variant_of
from tests.soak.served import SERVED

MANY = [draw(0, number) for number in range(4 * len(DECK))]
FAULTS = [fault for cycle in MANY for fault in cycle.faults]


def test_the_same_seed_and_number_give_the_same_cycle():
    assert [draw(7, number) for number in (17, 3, 170)] == [draw(7, number) for number in (17, 3, 170)]
    assert draw(7, 17) != draw(8, 17)


def test_each_deck_has_every_scenario_and_condition():
    for seed in (0, 1):
        first = [draw(seed, number) for number in range(len(DECK))]
        assert {cycle.condition for cycle in first} == {None, *CONDITIONS}
        assert Counter(cycle.scenario for cycle in first) == Counter(cycle.scenario for cycle in MANY[: len(DECK)])


def test_every_scenario_and_condition_is_made_by_something(tmp_path):
    drawn = {variant_of(cycle.scenario, cycle.variant) for cycle in MANY}
    assert drawn == set(scenarios(tmp_path))
    assert set(CONDITION_FUNCTIONS) == set(CONDITIONS)
    assert set(SERVED) < drawn


def test_faults_come_in_the_order_of_the_phases():
    phases = [[fault.phase for fault in cycle.faults] for cycle in MANY if {*PHASES} >= {f.phase for f in cycle.faults}]
    assert len(phases) > len(DECK)
    assert all(each == sorted(each, key=PHASES.index) for each in phases)


def test_most_faults_are_in_stages_and_many_in_registration_and_release():
    groups = Counter(group_of(fault.moment or fault.phase) for fault in FAULTS)
    share = {group: count / len(FAULTS) for group, count in groups.items()}
    assert share["stages"] > 0.5
    assert share["registration"] + share["release"] > 0.2
    assert {fault.phase for fault in FAULTS} >= {*STAGES, REGISTER, GATE, *SHORT}


def test_every_victim_and_blow_is_drawn():
    assert {fault.victim for fault in FAULTS} == set(Victim)
    assert len({fault.blow for fault in FAULTS}) == 5
