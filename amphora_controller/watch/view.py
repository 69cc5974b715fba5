# SPDX-License-Identifier: Apache-2.0
"""What is shown of the watch at one moment: rows of amphorae, and the sums below them."""

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import msgspec

from amphora_controller.heartbeat.envelope import Fault
from amphora_controller.heartbeat.message import Heartbeat
from amphora_controller.heartbeat.status import Operating
from amphora_controller.watch.certificates import Validity
from amphora_controller.watch.changes import Known, Life, Statuses
from amphora_controller.watch.traffic import Rates
from amphora_controller.watch.watcher import Last, Tally


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """One amphora.

    Attributes:
        unheard_s: since its last heartbeat.
        open_connections: None before the first heartbeat since the start.
        days: that its certificate is still valid; None if nobody knows.
        days_reason: why nobody knows, if it was asked.
    """

    amphora_id: str
    address: str
    is_silent: bool
    unheard_s: float
    listeners: Statuses
    pools: Statuses
    members: Statuses
    open_connections: int | None
    rates: Rates | None
    days: int | None = None
    days_reason: str = ""

    @property
    def is_well(self) -> bool:
        """Whether there is nothing to look at."""
        parts = (*self.listeners.values(), *self.pools.values(), *self.members.values())
        return not self.is_silent and all(status.is_well for status in parts)


@dataclass(frozen=True, kw_only=True, slots=True)
class SinkRow:
    """One sink.

    Attributes:
        waiting: events that it was not told yet.
        dropped: events that it will never be told, as too many waited.
        trouble: why it takes none; empty when it does.
    """

    name: str
    waiting: int
    dropped: int
    trouble: str


@dataclass(frozen=True, kw_only=True, slots=True)
class View:
    """Everything that is shown.

    Attributes:
        lost: datagrams that could not be handed on.
        lost_reason: why the last could not; empty when all is well again.
    """

    rows: tuple[Row, ...]
    tally: Tally
    sinks: tuple[SinkRow, ...]
    lost: int = 0
    lost_reason: str = ""
    shows_days: bool = False


def row(
    known: Known,
    last: Last | None,
    *,
    unheard_s: float,
    validity: Validity | None,
    now: datetime.datetime,
) -> Row:
    """What is shown of one amphora."""
    until = validity.until if validity else None
    return Row(
        amphora_id=known.amphora_id,
        address=known.address,
        is_silent=known.life is Life.SILENT,
        unheard_s=unheard_s,
        listeners=known.listeners,
        pools=known.pools,
        members=known.members,
        open_connections=(
            sum(found.open_connections for found in last.heartbeat.listeners.values())
            if last
            else None
        ),
        rates=last.rates if last else None,
        days=None if until is None else (until - now).days,
        days_reason=validity.reason if validity else "",
    )


def in_order(rows: list[Row]) -> tuple[Row, ...]:
    """What is not well first, silence before the rest."""
    return tuple(
        sorted(rows, key=lambda found: (not found.is_silent, found.is_well, found.address))
    )


def counted(statuses: Statuses) -> str:
    """How many, and how many of those are not well: `3`, or `3 (1 ERROR)`."""
    bad = {
        status: sum(found is status for found in statuses.values())
        for status in Operating
        if not status.is_well
    }
    shown = ", ".join(f"{count} {status}" for status, count in bad.items() if count)
    return f"{len(statuses)} ({shown})" if shown else str(len(statuses))


def amount(value: float | None) -> str:
    """A number with a decimal prefix, of at most four characters: `999`, `1.2k`, `34M`."""
    if value is None:
        return "-"
    for prefix in ("", "k", "M", "G", "T"):
        if value < 999.5 or prefix == "T":
            break
        value /= 1000
    return f"{value:.1f}{prefix}" if prefix and value < 9.95 else f"{value:.0f}{prefix}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A line below the rows.

    Attributes:
        topic: what it is about; the same while only numbers change.
    """

    topic: str
    text: str


def summary(view: View) -> str:
    """The first line below the rows."""
    return f"{len(view.rows)} amphorae, {view.tally.heartbeats} heartbeats"


def troubles(view: View) -> Iterator[Note]:
    """What is not well with the watch itself, or with what comes to it."""
    tally = view.tally
    for fault in Fault:
        if count := tally.refused[fault]:
            sender = tally.refused_from[fault]
            yield Note(topic=fault, text=f"{count} refused: {fault} (the last from {sender})")
    if not tally.heartbeats and tally.refused[Fault.WRONG_KEY]:
        yield Note(
            topic="key",
            text="no heartbeat has this key: is it [health_manager] heartbeat_key of octavia.conf?",
        )
    if tally.repeated:
        text = f"{tally.repeated} heartbeats came once more (the last from {tally.repeated_from})"
        yield Note(topic="repeated", text=f"{text}, and were passed over")
    if tally.over_limit:
        text = f"{tally.over_limit} heartbeats of more amphorae than can be watched"
        yield Note(topic="limit", text=text)
    if tally.trouble:
        text = f"changes cannot be written down, and are found again later: {tally.trouble}"
        yield Note(topic="store", text=text)
    if view.lost_reason:
        text = f"{view.lost} heartbeats were not handed on to Octavia: {view.lost_reason}"
        yield Note(topic="forward", text=text)
    unshown = [row for row in view.rows if row.days_reason]
    if unshown:
        text = f"{len(unshown)} amphorae do not show a certificate, such as {unshown[0].address}"
        yield Note(topic="certificates", text=f"{text}: {unshown[0].days_reason}")
    for sink in view.sinks:
        if sink.dropped:
            text = f"{sink.name}: {sink.dropped} events were given up, too many waited"
            yield Note(topic=f"{sink.name} dropped", text=text)
        if sink.trouble:
            text = f"{sink.name}: {sink.waiting} events wait; {sink.trouble}"
            yield Note(topic=f"{sink.name} trouble", text=text)


def document(found: Row, heartbeat: Heartbeat, at: datetime.datetime) -> Mapping[str, object]:
    """A heartbeat for programs, with what is known of its amphora.

    Args:
        at: when it came; aware.
    """
    traffic = found.rates
    return {
        "kind": "heartbeat",
        "at": msgspec.to_builtins(at),
        "amphora_id": found.amphora_id,
        "address": found.address,
        "sequence": heartbeat.sequence,
        "version": heartbeat.version,
        "listeners": dict(found.listeners),
        "pools": dict(found.pools),
        "members": dict(found.members),
        "open_connections": found.open_connections,
        "bytes_in_per_s": traffic and round(traffic.bytes_in, 3),
        "bytes_out_per_s": traffic and round(traffic.bytes_out, 3),
        "connections_per_s": traffic and round(traffic.connections, 3),
        "errors_per_s": traffic and round(traffic.errors, 3),
        "certificate_days": found.days,
    }
