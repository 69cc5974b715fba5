# SPDX-License-Identifier: Apache-2.0
"""A fleet as people and programs read it; pure."""

import datetime
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from amphora_controller.fleet.model import Report
from amphora_controller.fleet.plan import Held, Plan, Step

_UNKNOWN = "-"
_COLUMN_GAP = "  "


@dataclass(frozen=True, kw_only=True, slots=True)
class Group:
    """Amphorae that are made of the same.

    Attributes:
        days_least, days_most: whole days that their certificates are valid for; None if no one
            tells.
    """

    image_id: str | None
    haproxy: str | None
    agent: str | None
    amphorae: int
    days_least: int | None
    days_most: int | None


def groups(reports: Sequence[Report], now: datetime.datetime) -> list[Group]:
    """Those that answered, the largest group first."""
    found: dict[tuple[str | None, str | None, str | None], list[Report]] = defaultdict(list)
    for report in reports:
        if not report.cause:
            found[report.amphora.image_id, report.haproxy, report.agent].append(report)
    made = []
    for (image_id, haproxy, agent), members in found.items():
        days = [left for one in members if (left := one.days_left(now)) is not None]
        made.append(
            Group(
                image_id=image_id,
                haproxy=haproxy,
                agent=agent,
                amphorae=len(members),
                days_least=min(days, default=None),
                days_most=max(days, default=None),
            )
        )
    return sorted(made, key=lambda one: (-one.amphorae, one.image_id or "", one.haproxy or ""))


def listing(reports: Sequence[Report], now: datetime.datetime, *, each: bool) -> str:
    """A table of groups, or of each amphora, and below it those that did not answer."""
    silent = [report for report in reports if report.cause]
    table = _each(reports, now) if each else _grouped(reports, now)
    if not silent:
        return table
    lines = [
        f"  {one.amphora.address}  {one.amphora.id or _UNKNOWN}  {one.cause}\n" for one in silent
    ]
    return f"{table}\ndid not answer:\n{''.join(lines)}"


def as_json(reports: Sequence[Report], now: datetime.datetime) -> dict[str, Any]:
    """The same for programs."""
    return {
        "groups": [asdict(group) for group in groups(reports, now)],
        "amphorae": [
            {
                "address": one.amphora.address,
                "id": one.amphora.id or one.id,
                "load_balancer": one.amphora.load_balancer_id,
                "role": str(one.amphora.role),
                "status": one.amphora.status,
                "image_id": one.amphora.image_id,
                "haproxy": one.haproxy,
                "agent": one.agent,
                "days_left": one.days_left(now),
                "holds_vip": one.holds_vip,
                "cause": one.cause,
            }
            for one in reports
        ],
    }


def plan_text(plan: Plan) -> str:
    """Waves and what they do, and what is left alone."""
    lines = [] if plan.waves else ["no amphora is to be replaced"]
    for number, wave in enumerate(plan.waves, 1):
        lines.append(f"wave {number}")
        lines += [f"  {_step(step)}" for step in wave]
    if plan.held:
        lines.append("left alone:")
        lines += [f"  {held.amphora.name}: {held.why}" for held in plan.held]
    return "".join(f"{line}\n" for line in lines)


def plan_json(plan: Plan) -> dict[str, Any]:
    """The same for programs."""
    return {
        "waves": [[_step_json(step) for step in wave] for wave in plan.waves],
        "held": [_held_json(held) for held in plan.held],
    }


def _step(step: Step) -> str:
    what = f"{step.amphora.name} ({step.amphora.role}) of load balancer {step.load_balancer_id}"
    cost = "; interrupts it" if step.interrupts else ""
    return f"{what}: {', '.join(step.reasons)}{cost}"


def _step_json(step: Step) -> dict[str, Any]:
    return {
        "load_balancer": step.load_balancer_id,
        "amphora": step.amphora.id,
        "address": step.amphora.address,
        "role": str(step.amphora.role),
        "reasons": list(step.reasons),
        "interrupts": step.interrupts,
    }


def _held_json(held: Held) -> dict[str, Any]:
    return {"amphora": held.amphora.id, "address": held.amphora.address, "why": held.why}


def _grouped(reports: Sequence[Report], now: datetime.datetime) -> str:
    head = ("IMAGE", "HAPROXY", "AGENT", "AMPHORAE", "CERTIFICATE DAYS")
    rows = [
        (one.image_id, one.haproxy, one.agent, str(one.amphorae), _range(one))
        for one in groups(reports, now)
    ]
    return _columns([head, *rows])


def _each(reports: Sequence[Report], now: datetime.datetime) -> str:
    head = ("AMPHORA", "ADDRESS", "LOAD BALANCER", "ROLE", "IMAGE", "HAPROXY", "AGENT", "DAYS")
    rows = [
        (
            one.amphora.id or one.id,
            one.amphora.address,
            one.amphora.load_balancer_id,
            one.amphora.role or None,
            one.amphora.image_id,
            one.haproxy,
            one.agent,
            None if one.days_left(now) is None else str(one.days_left(now)),
        )
        for one in reports
        if not one.cause
    ]
    return _columns([head, *rows])


def _range(group: Group) -> str | None:
    if group.days_least is None or group.days_least == group.days_most:
        return None if group.days_least is None else str(group.days_least)
    return f"{group.days_least} to {group.days_most}"


def _columns(rows: Sequence[Sequence[str | None]]) -> str:
    cells = [[cell or _UNKNOWN for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    lines = (
        _COLUMN_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        for row in cells
    )
    return "".join(f"{line.rstrip()}\n" for line in lines)
