# SPDX-License-Identifier: Apache-2.0
"""Fleets for tests, drawn or written down, and their plans."""

import datetime
import uuid
from collections.abc import Sequence
from dataclasses import dataclass

from hypothesis import strategies as st

from amphora_controller.fleet.model import Known, LoadBalancer, Report, Role
from amphora_controller.fleet.plan import Plan, Wanted, plan

NOW = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
OLD, NEW = "old", "new"
WANTED = Wanted(image_id=NEW)


def name(number: int) -> str:
    """An id."""
    return str(uuid.UUID(int=number))


def amphora(number: int, lb_id: str, role: Role, image_id: str = OLD) -> Known:
    """One that serves."""
    return Known(
        id=name(number),
        address="192.0.2.1",
        load_balancer_id=lb_id,
        role=role,
        status="ALLOCATED",
        image_id=image_id,
    )


def answered(known: Known, *, holds_vip: bool | None = None) -> Report:
    """What it said."""
    until = NOW + datetime.timedelta(days=20)
    return Report(
        amphora=known, haproxy="3.0.11-1", agent="1", certificate_until=until, holds_vip=holds_vip
    )


def ids(made: Plan) -> list[list[str | None]]:
    """Whom each wave has."""
    return [[step.amphora.id for step in wave] for wave in made.waves]


def active(*lb_ids: str) -> dict[str, LoadBalancer]:
    """Load balancers that may be changed."""
    return {one: LoadBalancer(id=one, name="", status="ACTIVE") for one in lb_ids}


def planned(reports: Sequence[Report], wanted: Wanted = WANTED, at_once: int = 1) -> Plan:
    """A plan in which every load balancer may be changed."""
    known = {report.amphora.load_balancer_id or "" for report in reports}
    return plan(reports, active(*known), wanted, now=NOW, at_once=at_once)


@dataclass(frozen=True, slots=True)
class Cluster:
    """Amphorae of one load balancer, of a pair or alone, some of them of the new image."""

    pair: bool
    images: tuple[str, str]
    holder: int
    changing: bool


clusters = st.lists(
    st.builds(
        Cluster,
        pair=st.booleans(),
        images=st.tuples(st.sampled_from([OLD, NEW]), st.sampled_from([OLD, NEW])),
        holder=st.integers(0, 1),
        changing=st.sampled_from([False, False, False, True]),
    ),
    max_size=12,
)


def fleet_of(drawn: Sequence[Cluster]) -> tuple[list[Report], dict[str, LoadBalancer]]:
    """What a survey and Octavia would tell of them."""
    reports: list[Report] = []
    known: dict[str, LoadBalancer] = {}
    for index, cluster in enumerate(drawn):
        lb_id = name(1000 + index)
        status = "PENDING_UPDATE" if cluster.changing else "ACTIVE"
        known[lb_id] = LoadBalancer(id=lb_id, name="", status=status)
        roles = (Role.MASTER, Role.BACKUP) if cluster.pair else (Role.STANDALONE,)
        for place, role in enumerate(roles):
            one = amphora(2 * index + place, lb_id, role, cluster.images[place])
            holds = place == cluster.holder if cluster.pair else None
            reports.append(answered(one, holds_vip=holds))
    return reports, known
