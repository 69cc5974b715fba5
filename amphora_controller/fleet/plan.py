# SPDX-License-Identifier: Apache-2.0
"""Which amphorae are replaced, in which order; pure.

A plan is made of waves. In a wave each load balancer loses one amphora at most, so never both of a
pair; the next wave begins when every load balancer of the one before is whole again. The first wave
has one amphora alone: when the new image does not work, one load balancer has noticed, and if it
has a pair, the amphora that does not serve.
"""

import datetime
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from amphora_controller.fleet.model import Known, LoadBalancer, Report, Role

Version = tuple[int, ...]

_VERSION = re.compile(r"\d+(?:\.\d+)*")
_PAIR = frozenset({Role.MASTER, Role.BACKUP})


@dataclass(frozen=True, kw_only=True, slots=True)
class Wanted:
    """What an amphora must be to stay; None for what does not matter.

    Attributes:
        image_id: of this image.
        haproxy: of this version at least.
        days: with a certificate for so many days more at least.
    """

    image_id: str | None = None
    haproxy: Version | None = None
    days: int | None = None

    @property
    def is_empty(self) -> bool:
        """Whether every amphora may stay."""
        return self == Wanted()


@dataclass(frozen=True, kw_only=True, slots=True)
class Step:
    """One amphora to be replaced.

    Attributes:
        reasons: why.
        interrupts: it has no peer that serves meanwhile.
    """

    load_balancer_id: str
    amphora: Known
    reasons: tuple[str, ...]
    interrupts: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Held:
    """An amphora that is left alone, although it is to be replaced or may be.

    Attributes:
        why: with the next step.
        passes: the obstacle goes by itself: its load balancer is being changed.
    """

    amphora: Known
    why: str
    passes: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Plan:
    """What is replaced, wave by wave, and what is not."""

    waves: tuple[tuple[Step, ...], ...]
    held: tuple[Held, ...]

    @property
    def steps(self) -> tuple[Step, ...]:
        """All of them, in their order."""
        return tuple(step for wave in self.waves for step in wave)


def version(text: str) -> Version | None:
    """The numbers that a version begins with, 3.0.11 of 3.0.11-1+deb13u1; None for none."""
    found = _VERSION.match(text)
    return tuple(int(number) for number in found[0].split(".")) if found else None


def reasons(report: Report, wanted: Wanted, now: datetime.datetime) -> tuple[str, ...]:
    """Why an amphora must not stay; empty when it may, or when that cannot be told."""
    return tuple(_reasons(report, wanted, now))


def plan(
    reports: Sequence[Report],
    load_balancers: Mapping[str, LoadBalancer],
    wanted: Wanted,
    *,
    now: datetime.datetime,
    at_once: int,
) -> Plan:
    """Put the amphorae that are to be replaced into an order that keeps pairs serving.

    Pairs come first, whose traffic is not interrupted, and one pair is finished before many are
    begun: so the new image serves early on, and few pairs are left in between if it fails.

    Args:
        reports: every amphora of every load balancer; one that is missing counts as lost.
        load_balancers: by their ids.
        now: aware.
        at_once: how many load balancers may be without one of their amphorae at the same time.
    """
    queues: list[list[Step]] = []
    held: list[Held] = []
    for lb_id, members in sorted(_by_load_balancer(reports).items()):
        steps, left = _of_load_balancer(members, load_balancers.get(lb_id), wanted, now)
        queues += [steps] if steps else []
        held += left
    queues.sort(key=lambda steps: steps[0].interrupts)
    return Plan(waves=_waves(queues, at_once), held=tuple(held))


def _reasons(report: Report, wanted: Wanted, now: datetime.datetime) -> Iterator[str]:
    image = report.amphora.image_id
    if wanted.image_id is not None and image is not None and image != wanted.image_id:
        yield f"image {image}"
    runs = None if report.haproxy is None else version(report.haproxy)
    if wanted.haproxy is not None and runs is not None and runs < wanted.haproxy:
        yield f"haproxy {report.haproxy}"
    days = report.days_left(now)
    if wanted.days is not None and days is not None and days < wanted.days:
        yield f"certificate for {days} days"


def _by_load_balancer(reports: Sequence[Report]) -> dict[str, list[Report]]:
    found: dict[str, list[Report]] = defaultdict(list)
    for report in reports:
        if report.amphora.load_balancer_id is not None:
            found[report.amphora.load_balancer_id].append(report)
    return found


def _of_load_balancer(
    members: Sequence[Report],
    load_balancer: LoadBalancer | None,
    wanted: Wanted,
    now: datetime.datetime,
) -> tuple[list[Step], list[Held]]:
    why = {report.amphora: reasons(report, wanted, now) for report in members}
    chosen = [report for report in members if why[report.amphora]]
    unknown = [
        Held(amphora=report.amphora, why=f"it cannot be judged: {report.cause}")
        for report in members
        if report.cause and not why[report.amphora]
    ]
    if not chosen:
        return [], unknown
    obstacle = _obstacle(members, load_balancer, chosen)
    if obstacle or load_balancer is None:
        passes = load_balancer is not None and load_balancer.is_changing
        held = [Held(amphora=one.amphora, why=obstacle, passes=passes) for one in chosen]
        return [], held + unknown
    steps = [
        Step(
            load_balancer_id=load_balancer.id,
            amphora=report.amphora,
            reasons=why[report.amphora],
            interrupts=report.amphora.role not in _PAIR,
        )
        for report in sorted(chosen, key=_service)
    ]
    return steps, unknown


def _service(report: Report) -> tuple[bool, bool, bool]:
    """What sorts first the amphora of a pair whose loss is noticed least."""
    return not report.cause, report.holds_vip is True, report.amphora.role is Role.MASTER


def _obstacle(
    members: Sequence[Report], load_balancer: LoadBalancer | None, chosen: Sequence[Report]
) -> str:
    """Why no amphora of a load balancer may be replaced now; empty if they may."""
    if load_balancer is None:
        return "Octavia does not know its load balancer"
    heal = f"openstack loadbalancer failover {load_balancer.id}"
    if load_balancer.status != "ACTIVE":
        return f"load balancer {load_balancer.id} is {load_balancer.status}"
    for report in members:
        if report.amphora.status != "ALLOCATED":
            return f"{report.amphora.name} is {report.amphora.status}: {heal}"
    roles = {report.amphora.role for report in members}
    if len(members) != (2 if roles & _PAIR else 1):
        return f"its load balancer has {len(members)} amphorae, of {_listed(roles)}: {heal}"
    for report in members:
        if report.cause and report not in chosen:
            return f"its peer {report.amphora.id} does not answer ({report.cause}): {heal}"
    return ""


def _listed(roles: set[Role]) -> str:
    return " and ".join(sorted(role or "no role" for role in roles))


def _waves(queues: Sequence[Sequence[Step]], at_once: int) -> tuple[tuple[Step, ...], ...]:
    left = [list(steps) for steps in queues]
    waves: list[tuple[Step, ...]] = []
    while left:
        limit = at_once if waves else 1
        waves.append(tuple(steps.pop(0) for steps in left[:limit]))
        left = [steps for steps in left if steps]
    return tuple(waves)
