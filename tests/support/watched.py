# SPDX-License-Identifier: Apache-2.0
"""Heartbeats made for the watch, and what can be said of the events that it must make of them."""

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from amphora_agent.heartbeat.message import encode
from amphora_controller.watch.changes import Event, Kind
from amphora_controller.watch.ears import Datagram
from amphora_controller.watch.store import Numbered
from amphora_controller.watch.watcher import Heard, Limits, Moment, Watcher

KEY = "key-of-this-test"
AMPHORA = "a1b2c3d4-0000-4000-8000-000000000001"
LISTENER = "11111111-1111-4111-8111-111111111111"
POOL = "22222222-2222-4222-8222-222222222222"
START = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
ADDRESS = "192.0.2.7"
LIMITS = Limits(silent_s=60, forget_s=600)
MEMBERS = ("33333333-0000-4000-8000-000000000001", "33333333-0000-4000-8000-000000000002")

EVENT = Numbered(
    number=1,
    event=Event(
        kind=Kind.AMPHORA,
        at=START,
        amphora_id=AMPHORA,
        address=ADDRESS,
        object_id=AMPHORA,
        before=None,
        after="ALIVE",
    ),
)


def message(
    *members: str, amphora_id: str = AMPHORA, sequence: int = 0, listener: str = "OPEN"
) -> dict[str, Any]:
    """A message of one listener, one pool and a member for each status."""
    stats = {"tx": 200, "rx": 100, "conns": 1, "totconns": 10, "ereq": 0}
    return {
        "id": amphora_id,
        "seq": sequence,
        "ver": 3,
        "listeners": {LISTENER: {"status": listener, "stats": stats}},
        "pools": {
            f"{POOL}:{LISTENER}": {
                "status": "UP",
                "members": dict(zip(MEMBERS, members, strict=False)),
            }
        },
    }


def datagram(*members: str, key: str = KEY, **more: Any) -> bytes:
    """The same, signed."""
    return signed(message(*members, **more), key)


def signed(whole: Mapping[str, Any], key: str = KEY) -> bytes:
    """The datagram of any message."""
    return encode(whole, key=key)  # type: ignore[arg-type]


def moment(seconds: float) -> Moment:
    """So long after the beginning."""
    return Moment(monotonic_s=seconds, at=START + datetime.timedelta(seconds=seconds))


def give(watch: Watcher, seconds: float, payload: bytes, *, source: str = ADDRESS) -> Heard | None:
    """Give a watch a datagram."""
    return watch.datagram(Datagram(payload=payload, source=source), moment(seconds))


def hear(watch: Watcher, seconds: float, *members: str, **more: Any) -> list[Numbered]:
    """Give a watch a heartbeat, of another sequence each second; what changed with it."""
    heard = give(watch, seconds, datagram(*members, **{"sequence": int(seconds), **more}))
    assert heard is not None
    return heard.events


def told(events: Sequence[Numbered]) -> list[tuple[str, str | None, str | None]]:
    """Object, before and after of each."""
    return [(one.event.object_id, one.event.before, one.event.after) for one in events]


def assert_unbroken(events: Iterable[Mapping[str, Any]], now: Mapping[str, str | None]) -> None:
    """No event is missing: numbers follow on each other, and so do statuses of every object.

    Args:
        events: as they were told, in order, told again or not.
        now: the status of each object at the end.
    """
    numbered = {event["number"]: event for event in events}
    assert sorted(numbered) == list(range(1, len(numbered) + 1))
    told: dict[str, str | None] = {}
    for number in sorted(numbered):
        event = numbered[number]
        name = event["object_id"]
        if name in told:
            assert event["before"] == told[name], f"before {event} something is missing"
        told[name] = event["after"]
    for name, status in now.items():
        # What is well from the beginning is not told.
        assert told.get(name, status) == status, f"the last change of {name} is missing"
        assert name in told or status in ("ONLINE", "DRAINING", "NO_MONITOR"), name
