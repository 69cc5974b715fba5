# SPDX-License-Identifier: Apache-2.0
"""How much passes through an amphora a second, from one heartbeat to the next."""

from dataclasses import dataclass

from amphora_controller.heartbeat.message import Heartbeat, Traffic


@dataclass(frozen=True, kw_only=True, slots=True)
class Rates:
    """Over all listeners, a second."""

    bytes_in: float
    bytes_out: float
    connections: float
    errors: float


def rates(heartbeat: Heartbeat, *, before: Heartbeat | None, elapsed_s: float) -> Rates | None:
    """What passed between two heartbeats; None if that cannot be told.

    An amphora sends each heartbeat to one controller in turn, so that others may have gone
    elsewhere in between: the sequence tells how many, and traffic is that of the last period alone.

    Args:
        before: the heartbeat heard before, of the same amphora.
        elapsed_s: since then.
    """
    periods = _periods(heartbeat, before)
    if before is None or periods is None or elapsed_s <= 0:
        return None
    passed, seconds = total(heartbeat), elapsed_s
    if heartbeat.has_deltas:
        seconds = elapsed_s / periods
    else:
        passed = _difference(passed, total(before))
        if min(passed.bytes_in, passed.bytes_out, passed.connections, passed.errors) < 0:
            return None
    return Rates(
        bytes_in=passed.bytes_in / seconds,
        bytes_out=passed.bytes_out / seconds,
        connections=passed.connections / seconds,
        errors=passed.errors / seconds,
    )


def total(heartbeat: Heartbeat) -> Traffic:
    """The sum over all listeners."""
    found = [listener.traffic for listener in heartbeat.listeners.values()]
    return Traffic(
        bytes_in=sum(traffic.bytes_in for traffic in found),
        bytes_out=sum(traffic.bytes_out for traffic in found),
        connections=sum(traffic.connections for traffic in found),
        errors=sum(traffic.errors for traffic in found),
    )


def _periods(heartbeat: Heartbeat, before: Heartbeat | None) -> int | None:
    """How many periods lie between; None if the sender was started anew."""
    if before is None or heartbeat.version != before.version:
        return None
    if heartbeat.sequence is None or before.sequence is None:
        return 1
    gap = heartbeat.sequence - before.sequence
    return gap if gap > 0 else None


def _difference(now: Traffic, before: Traffic) -> Traffic:
    return Traffic(
        bytes_in=now.bytes_in - before.bytes_in,
        bytes_out=now.bytes_out - before.bytes_out,
        connections=now.connections - before.connections,
        errors=now.errors - before.errors,
    )
