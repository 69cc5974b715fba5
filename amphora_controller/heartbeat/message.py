# SPDX-License-Identifier: Apache-2.0
"""What a heartbeat says, whatever the version of its message.

| version | since | counters | pools |
| --- | --- | --- | --- |
| none or 1 | before Train | since the source's start | in their listeners |
| 2 | Train | since the source's start | `<pool>:<listener>`, or `<pool>` for UDP and SCTP |
| 3 | Victoria | since the previous heartbeat | as 2 |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from amphora_controller.heartbeat import envelope
from amphora_controller.heartbeat.envelope import Fault, Refused

NEWEST_VERSION = 3
_DELTAS_SINCE_VERSION = 3

# Ids and statuses are shown on terminals and given to programs: nothing but plain characters.
_Id = Annotated[str, Meta(pattern=r"\A[0-9A-Za-z._-]{1,64}\Z")]
_PoolKey = Annotated[str, Meta(pattern=r"\A[0-9A-Za-z._:-]{1,130}\Z")]
_Status = Annotated[str, Meta(pattern=r"\A[ -~]{0,32}\Z")]
_Count = Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Stats(Struct, frozen=True):
    tx: _Count = 0
    rx: _Count = 0
    conns: _Count = 0
    totconns: _Count = 0
    ereq: _Count = 0


class _Pool(Struct, frozen=True):
    status: _Status
    members: dict[_Id, _Status] = {}


class _Listener(Struct, frozen=True):
    status: _Status
    stats: _Stats = _Stats()
    pools: dict[_Id, _Pool] = {}


class _Message(Struct, frozen=True):
    id: _Id
    listeners: dict[_Id, _Listener]
    seq: _Count | None = None
    pools: dict[_PoolKey, _Pool] = {}


class _Version(Struct, frozen=True):
    ver: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Counters of one listener: bytes in and out, new connections, request errors."""

    bytes_in: int = 0
    bytes_out: int = 0
    connections: int = 0
    errors: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """One listener.

    Attributes:
        status: OPEN or FULL.
        open_connections: of this moment.
    """

    status: str
    open_connections: int
    traffic: Traffic


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """One pool; members' statuses by their ids, as haproxy words them (`UP 1/3`, `no check`)."""

    status: str
    members: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Heartbeat:
    """One heartbeat.

    Attributes:
        sequence: counts from 0 at the sender's start; None if there is none.
        has_deltas: traffic is what passed since the heartbeat before; otherwise since the start of
            what counts.
        pools: by their ids alone; a pool of several listeners is there once.
    """

    amphora_id: str
    sequence: int | None
    version: int
    has_deltas: bool
    listeners: Mapping[str, Listener]
    pools: Mapping[str, Pool]


def opened(datagram: bytes, key: str) -> Heartbeat:
    """The heartbeat in a datagram.

    Args:
        key: [health_manager] heartbeat_key.

    Raises:
        Refused: it is none, or was not signed with this key.
    """
    return read(envelope.text(datagram, key))


def read(text: bytes) -> Heartbeat:
    """The heartbeat in a JSON text.

    Raises:
        Refused: it is none, or of a version that is not known here.
    """
    try:
        version = msgspec.json.decode(text, type=_Version).ver
        if not 0 <= version <= NEWEST_VERSION:
            raise Refused(Fault.VERSION, f"{version}; known are 0 to {NEWEST_VERSION}")
        message = msgspec.json.decode(text, type=_Message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as exc:
        raise Refused(Fault.MALFORMED, str(exc)) from exc
    return Heartbeat(
        amphora_id=message.id,
        sequence=message.seq,
        version=version,
        has_deltas=version >= _DELTAS_SINCE_VERSION,
        listeners={name: _listener(found) for name, found in message.listeners.items()},
        pools=_pools(message),
    )


def _listener(found: _Listener) -> Listener:
    stats = found.stats
    return Listener(
        status=found.status,
        open_connections=stats.conns,
        traffic=Traffic(
            bytes_in=stats.rx,
            bytes_out=stats.tx,
            connections=stats.totconns,
            errors=stats.ereq,
        ),
    )


def _pools(message: _Message) -> dict[str, Pool]:
    """Pools of every version; the last of several of one id counts, as in Octavia."""
    inside = (item for found in message.listeners.values() for item in found.pools.items())
    beside = ((key.rpartition(":")[0] or key, found) for key, found in message.pools.items())
    return {
        pool_id: Pool(status=found.status, members=found.members)
        for pool_id, found in (*inside, *beside)
    }
