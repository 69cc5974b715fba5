# SPDX-License-Identifier: Apache-2.0
"""The agent's own metrics: what it was asked and did, and how long its certificates last."""

from collections.abc import Iterator
from datetime import UTC, datetime

from amphora_agent import __version__, metrics
from amphora_agent.metrics import Family, Kind
from amphora_agent.operations import expiry, heartbeats, logs
from amphora_agent.operations.context import Context
from amphora_agent.operations.counters import Event
from amphora_agent.system.handshakes import Cause


def exposition(context: Context) -> str:
    """All of them, in the text format of Prometheus."""
    now = datetime.now(UTC)
    return metrics.exposition(
        [*_agent(context), _certificates(context, now), *_heartbeats(), _log_offload()]
    )


def _agent(context: Context) -> Iterator[Family]:
    versions = context.host.versions()
    yield Family(
        name="amphora_build_info",
        kind=Kind.GAUGE,
        help="Versions of the agent and of the programs that it runs; always 1.",
        labels=("version", "haproxy", "keepalived"),
        samples={(__version__, versions.haproxy, versions.keepalived): 1},
    )
    yield Family(
        name="amphora_requests_total",
        kind=Kind.COUNTER,
        help="Requests of the API that were answered, by route, method and status.",
        labels=("route", "method", "status"),
        samples=context.counters.counts(Event.REQUEST),
    )
    failures = context.handshakes.counts
    yield Family(
        name="amphora_handshake_failures_total",
        kind=Kind.COUNTER,
        help="Clients that were turned away before they could ask anything, by cause.",
        labels=("cause",),
        samples={(cause,): failures.get(cause, 0) for cause in Cause},
    )
    yield Family(
        name="amphora_applies_total",
        kind=Kind.COUNTER,
        help="Configurations of haproxy that took effect, by the way in which they did.",
        labels=("kind",),
        samples=context.counters.counts(Event.APPLY),
    )


def _certificates(context: Context, now: datetime) -> Family:
    samples: dict[tuple[str, ...], float] = {}
    for found in expiry.expiries(context.settings):
        days = found.days_left(now)
        if days is not None:
            samples[found.kind, found.lb_id, found.path.name] = round(days, 2)
    return Family(
        name="amphora_certificate_days_left",
        kind=Kind.GAUGE,
        help="Days until the first certificate of a file ends; negative after it.",
        labels=("kind", "load_balancer", "file"),
        samples=samples,
    )


def _heartbeats() -> Iterator[Family]:
    found = heartbeats.heartbeats()
    tallies = found.controllers if found else {}
    yield Family(
        name="amphora_heartbeats_sent_total",
        kind=Kind.COUNTER,
        help="Heartbeats that left for a controller since the sender started.",
        labels=("controller",),
        samples={(name,): tally.sent for name, tally in tallies.items()},
    )
    yield Family(
        name="amphora_heartbeats_failed_total",
        kind=Kind.COUNTER,
        help="Heartbeats that could not be sent to a controller since the sender started.",
        labels=("controller",),
        samples={(name,): tally.failed for name, tally in tallies.items()},
    )
    yield Family(
        name="amphora_heartbeat_last_sent_timestamp_seconds",
        kind=Kind.GAUGE,
        help="When the last heartbeat left for a controller, in seconds since 1970.",
        labels=("controller",),
        samples={
            (name,): tally.last_sent_s
            for name, tally in tallies.items()
            if tally.last_sent_s is not None
        },
    )
    yield Family(
        name="amphora_heartbeat_silent",
        kind=Kind.GAUGE,
        help="Whether no heartbeat left the last time, or the sender does not say.",
        samples={(): int(found is None or bool(found.silence))},
    )


def _log_offload() -> Family:
    return Family(
        name="amphora_log_offload_set_aside",
        kind=Kind.GAUGE,
        help="Whether the controller asks for a log offload that rsyslog does not take.",
        samples={(): int(logs.offload().is_set_aside)},
    )
