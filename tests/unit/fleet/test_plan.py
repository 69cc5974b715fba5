# SPDX-License-Identifier: Apache-2.0
"""The order in which a fleet is replaced, by its properties."""

import datetime
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_controller.fleet.model import Report, Role
from amphora_controller.fleet.plan import Wanted, plan, reasons, version
from tests.unit.fleet.fleets import (
    NEW,
    NOW,
    OLD,
    WANTED,
    Cluster,
    amphora,
    answered,
    clusters,
    fleet_of,
    ids,
    name,
    planned,
)


@given(clusters, st.integers(1, 5))
def test_plan_keeps_its_promises(drawn: list[Cluster], at_once: int) -> None:
    """In a wave no load balancer twice and none too many; every amphora that is due, just once."""
    reports, known = fleet_of(drawn)
    made = plan(reports, known, WANTED, now=NOW, at_once=at_once)
    for number, wave in enumerate(made.waves):
        balancers = [step.load_balancer_id for step in wave]
        assert len(set(balancers)) == len(balancers)
        assert 1 <= len(wave) <= (at_once if number else 1)
    due = {report.amphora.id for report in reports if report.amphora.image_id == OLD}
    covered = Counter(
        [*(step.amphora.id for step in made.steps), *(h.amphora.id for h in made.held)]
    )
    assert covered == Counter(due)
    assert all(known[held.amphora.load_balancer_id or ""].is_changing for held in made.held)
    assert all(held.passes for held in made.held)


@given(clusters, st.integers(1, 5))
def test_plan_takes_the_serving_one_of_a_pair_last(drawn: list[Cluster], at_once: int) -> None:
    """Of two that are due, the one with the VIP comes in a later wave."""
    reports, known = fleet_of(drawn)
    made = plan(reports, known, WANTED, now=NOW, at_once=at_once)
    holds = {report.amphora.id: report.holds_vip for report in reports}
    seen: set[str] = set()
    for step in made.steps:
        if step.load_balancer_id in seen:
            assert holds[step.amphora.id]
        seen.add(step.load_balancer_id)
    interrupts = [wave[0].interrupts for wave in made.waves]
    assert interrupts == sorted(interrupts)


def test_plan_of_pairs_finishes_one_before_the_next() -> None:
    """With a limit of one, both of a pair go before another pair is begun."""
    pairs = [
        answered(amphora(number, name(1000 + number // 2), role))
        for number, role in enumerate([Role.MASTER, Role.BACKUP] * 2)
    ]
    # No one tells who has the VIP: then the role decides.
    assert ids(planned(pairs)) == [[name(1)], [name(0)], [name(3)], [name(2)]]
    assert ids(planned(pairs, at_once=2)) == [[name(1)], [name(0), name(3)], [name(2)]]


def test_plan_takes_a_silent_amphora_before_its_peer() -> None:
    """Who does not answer serves nobody; the good one goes only if the silent one goes first."""
    good = answered(amphora(1, "lb", Role.BACKUP), holds_vip=True)
    silent = Report(amphora=amphora(0, "lb", Role.MASTER), cause="no answer")
    assert ids(planned([good, silent])) == [[name(0)], [name(1)]]
    of_new = replace(silent, amphora=replace(silent.amphora, image_id=NEW))
    made = planned([good, of_new])
    assert made.waves == ()
    why = {held.amphora.id: held.why for held in made.held}
    assert why[name(1)].startswith(f"its peer {name(0)} does not answer (no answer): openstack")
    assert why[name(0)] == "it cannot be judged: no answer"


@pytest.mark.parametrize("status", ["ERROR", "BOOTING"])
def test_plan_leaves_a_pair_alone_that_is_not_whole(status: str) -> None:
    """With a peer that Octavia has not allocated, the other one is all there is."""
    pair = [answered(amphora(n, "lb", role)) for n, role in enumerate((Role.MASTER, Role.BACKUP))]
    assert len(planned(pair).steps) == 2
    pair[0] = replace(pair[0], amphora=replace(pair[0].amphora, status=status))
    made = planned(pair)
    assert made.waves == ()
    assert {held.amphora.id for held in made.held} == {name(0), name(1)}
    assert {held.why for held in made.held} == {
        f"amphora {name(0)} is {status}: openstack loadbalancer failover lb"
    }


@pytest.mark.parametrize(
    "roles", [[Role.MASTER], [Role.MASTER, Role.BACKUP, Role.BACKUP], [Role.STANDALONE] * 2]
)
def test_plan_leaves_alone_what_has_another_number_of_amphorae(roles: list[Role]) -> None:
    """Half a pair, and more than there should be, are Octavia's to put right first."""
    made = planned([answered(amphora(number, "lb", role)) for number, role in enumerate(roles)])
    assert made.waves == ()
    assert f"has {len(roles)} amphorae, of " in made.held[0].why


def test_plan_of_a_load_balancer_that_is_gone_is_held() -> None:
    """One that Octavia does not list has no step."""
    made = plan([answered(amphora(1, "lb", Role.STANDALONE))], {}, WANTED, now=NOW, at_once=1)
    assert (made.waves, made.held[0].why) == ((), "Octavia does not know its load balancer")
    assert not made.held[0].passes


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("3.0.11-1+deb13u1", (3, 0, 11)),
        ("2.8.16-0ubuntu0.24.04.1", (2, 8, 16)),
        ("3.2-dev4", (3, 2)),
        ("v3", None),
        ("", None),
    ],
)
def test_version_is_what_it_begins_with(text: str, numbers: tuple[int, ...] | None) -> None:
    """Numbers of packages are read up to the first other character."""
    assert version(text) == numbers


def test_reasons_compare_numbers_and_not_words() -> None:
    """3.0.9 is older than 3.0.11, and what is not known is no reason."""
    report = replace(answered(amphora(1, "lb", Role.STANDALONE)), haproxy="3.0.9-1")
    assert reasons(report, Wanted(haproxy=(3, 0, 11)), NOW) == ("haproxy 3.0.9-1",)
    assert reasons(report, Wanted(haproxy=(3, 0, 9)), NOW) == ()
    assert reasons(replace(report, haproxy="odd"), Wanted(haproxy=(9,)), NOW) == ()
    assert reasons(report, Wanted(days=21), NOW) == ("certificate for 20 days",)
    assert reasons(report, Wanted(days=20), NOW) == ()
    unknown = replace(report, amphora=replace(report.amphora, image_id=None))
    assert reasons(unknown, Wanted(image_id=NEW), NOW) == ()


def test_expired_certificate_counts_by_what_octavia_has_noted() -> None:
    """Who is refused for an expired certificate tells no date; Octavia's own one is taken."""
    noted = replace(
        amphora(1, "lb", Role.STANDALONE), certificate_until=NOW - datetime.timedelta(days=3)
    )
    report = Report(amphora=noted, cause="certificate has expired")
    assert reasons(report, Wanted(days=1), NOW) == ("certificate for -3 days",)
