# SPDX-License-Identifier: Apache-2.0
"""What is known of an amphora, and what a heartbeat changes in it."""

import datetime
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

from amphora_controller.heartbeat.message import Heartbeat
from amphora_controller.heartbeat.status import Operating, of_listener, of_member, of_pool

Statuses = Mapping[str, Operating]
"""By id; a member's is `<pool id>/<member id>`."""


class Kind(StrEnum):
    """What has changed."""

    AMPHORA = "amphora"
    LISTENER = "listener"
    POOL = "pool"
    MEMBER = "member"


class Life(StrEnum):
    """Whether an amphora is heard."""

    ALIVE = "ALIVE"
    SILENT = "SILENT"


@dataclass(frozen=True, kw_only=True, slots=True)
class Known:
    """What is known of one amphora from one start of the watch to the next.

    Attributes:
        address: where its heartbeats come from, on the management network.
    """

    amphora_id: str
    address: str
    life: Life = Life.ALIVE
    listeners: Statuses = field(default_factory=dict)
    pools: Statuses = field(default_factory=dict)
    members: Statuses = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True, slots=True)
class Event:
    """One change.

    Attributes:
        at: when it was seen; aware.
        object_id: of the amphora, listener, pool or member.
        pool_id: of a member's pool; otherwise empty.
        before, after: None if it was not, or is not, in the heartbeats.
    """

    kind: Kind
    at: datetime.datetime
    amphora_id: str
    address: str
    object_id: str
    pool_id: str = ""
    before: str | None
    after: str | None


def heard(
    known: Known | None, heartbeat: Heartbeat, address: str, at: datetime.datetime
) -> tuple[Known, tuple[Event, ...]]:
    """What is known after a heartbeat, and what has changed with it.

    Args:
        known: what was; None for an amphora that is new.
    """
    before = known or Known(amphora_id=heartbeat.amphora_id, address=address)
    after = Known(
        amphora_id=heartbeat.amphora_id,
        address=address,
        listeners=_read(
            before.listeners,
            ((name, found.status) for name, found in heartbeat.listeners.items()),
            of_listener,
        ),
        pools=_read(
            before.pools,
            ((name, found.status) for name, found in heartbeat.pools.items()),
            of_pool,
        ),
        members=_read(
            before.members,
            (
                (f"{pool_id}/{name}", word)
                for pool_id, pool in heartbeat.pools.items()
                for name, word in pool.members.items()
            ),
            of_member,
        ),
    )
    return after, tuple(_events(known, before, after, at))


def silent(known: Known, at: datetime.datetime) -> tuple[Known, tuple[Event, ...]]:
    """What is known of an amphora that was not heard for too long."""
    after = replace(known, life=Life.SILENT)
    return after, (_of_amphora(after, known.life, at),) if known.life is Life.ALIVE else ()


def _read(
    before: Statuses,
    words: Iterable[tuple[str, str]],
    meaning: Callable[[str], Operating | None],
) -> dict[str, Operating]:
    """Statuses of words; a word that leaves a status as it is, leaves it as it is."""
    found: dict[str, Operating] = {}
    for name, word in words:
        status = meaning(word) or before.get(name)
        if status is not None:
            found[name] = status
    return found


def _events(
    known: Known | None, before: Known, after: Known, at: datetime.datetime
) -> Iterator[Event]:
    if known is None or known.life is Life.SILENT:
        yield _of_amphora(after, None if known is None else known.life, at)
    for kind, old, new in (
        (Kind.LISTENER, before.listeners, after.listeners),
        (Kind.POOL, before.pools, after.pools),
        (Kind.MEMBER, before.members, after.members),
    ):
        for name in sorted({*old, *new}):
            if _is_told(kind, old.get(name), new.get(name)):
                pool_id, _, object_id = name.rpartition("/")
                yield Event(
                    kind=kind,
                    at=at,
                    amphora_id=after.amphora_id,
                    address=after.address,
                    object_id=object_id,
                    pool_id=pool_id,
                    before=old.get(name),
                    after=new.get(name),
                )


def _of_amphora(after: Known, before: Life | None, at: datetime.datetime) -> Event:
    return Event(
        kind=Kind.AMPHORA,
        at=at,
        amphora_id=after.amphora_id,
        address=after.address,
        object_id=after.amphora_id,
        before=before,
        after=after.life,
    )


def _is_told(kind: Kind, before: Operating | None, after: Operating | None) -> bool:
    """Whether a difference is a change of status, and not one of the configuration alone.

    What comes or goes while it is well is configured, or left out of a heartbeat that was too
    large. A listener that goes is told always: the controller replaces an amphora that misses one.
    """
    if before is None:
        return after is not None and not after.is_well
    if after is None:
        return kind is Kind.LISTENER or not before.is_well
    return before is not after
