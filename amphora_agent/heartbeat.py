# SPDX-License-Identifier: Apache-2.0
"""The heartbeat: what an amphora tells its health manager, and the bytes that carry it.

Message version 3 (Octavia since Victoria): status of listeners, pools and members, and the traffic
of each listener since the previous message. Everything here is a function of its arguments: no
clock, no file, no socket.

The traffic is kept in a `Ledger`. Each look at a source (one haproxy, later one LVS listener) adds
what is new to `unsent`; a message that has left takes off what it carried. So nothing is counted
twice, and nothing that was seen is lost when a message could not be sent or a worker was replaced.
"""

import hmac
import json
import re
import zlib
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import TypedDict

from amphora_agent.errors import ParseError
from amphora_agent.showstat import Backend, Frontend, Server, Snapshot

MESSAGE_VERSION = 3

# Largest payload of one UDP datagram over IPv4: 65,535 less the IP and UDP headers. The receiver
# reads 65,536 bytes, and cannot put a message together from several datagrams.
DATAGRAM_MAX = 65_507

_LEDGER_VERSION = 1

# Names of the controller's objects. Whatever else the configuration defines, such as the frontend
# and backend of the Prometheus exporter, is none of them: one listener too many in a message and
# the controller does not count it as a sign of life.
_UUID = "[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
_OBJECT_NAME = re.compile(_UUID)
_POOL_NAME = re.compile(f"{_UUID}:{_UUID}")

# What haproxy says of a frontend that accepts connections (FULL: it has reached its maxconn).
_SERVING = frozenset({"OPEN", "FULL"})


class ListenerStats(TypedDict):
    """Bytes out and in, open connections, new sessions, request errors."""

    tx: int
    rx: int
    conns: int
    totconns: int
    ereq: int


class ListenerEntry(TypedDict):
    """One listener on the wire."""

    status: str
    stats: ListenerStats


class PoolEntry(TypedDict):
    """One pool on the wire; members map an id to a status."""

    status: str
    members: dict[str, str]


class Message(TypedDict):
    """A message on the wire; all of it must be there, even when it is empty."""

    id: str
    seq: int
    ver: int
    listeners: dict[str, ListenerEntry]
    pools: dict[str, PoolEntry]


@dataclass(frozen=True, kw_only=True, slots=True)
class Traffic:
    """Counters of one listener, by haproxy's names: bytes in and out, request errors, sessions."""

    bin: int = 0
    bout: int = 0
    ereq: int = 0
    stot: int = 0

    def __bool__(self) -> bool:
        return bool(self.bin or self.bout or self.ereq or self.stot)

    def __add__(self, other: "Traffic") -> "Traffic":
        return Traffic(
            bin=self.bin + other.bin,
            bout=self.bout + other.bout,
            ereq=self.ereq + other.ereq,
            stot=self.stot + other.stot,
        )

    def since(self, earlier: "Traffic") -> "Traffic":
        """What came after `earlier`, all of it if the counters were set to zero in between."""
        if (
            self.bin < earlier.bin
            or self.bout < earlier.bout
            or self.ereq < earlier.ereq
            or self.stot < earlier.stot
        ):
            return self
        return Traffic(
            bin=self.bin - earlier.bin,
            bout=self.bout - earlier.bout,
            ereq=self.ereq - earlier.ereq,
            stot=self.stot - earlier.stot,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """A listener that a source knows.

    Attributes:
        status: OPEN or FULL when it is served, another word when it is not.
        connections: open ones.
        totals: since the start of what counts them.
    """

    status: str
    connections: int
    totals: Traffic

    @property
    def is_served(self) -> bool:
        """Whether clients can connect; only then it belongs into a message."""
        return self.status in _SERVING


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """A pool: UP or DOWN, and the status of each member by its id."""

    status: str
    members: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """One look at one source of listeners.

    Attributes:
        source: stable name of what was asked, such as `haproxy:<load balancer id>`.
        worker: identity of the process that counts; another one counts from zero.
        listeners: by listener id.
        pools: by the key on the wire, `<pool id>:<listener id>` for haproxy.
    """

    source: str
    worker: str
    listeners: Mapping[str, Listener]
    pools: Mapping[str, Pool]


@dataclass(frozen=True, kw_only=True, slots=True)
class Account:
    """Traffic of one source.

    Attributes:
        worker: who counted `totals`.
        totals: last counters seen, by listener id.
        unsent: seen but in no message that has left, by listener id; never all zero.
    """

    worker: str
    totals: Mapping[str, Traffic]
    unsent: Mapping[str, Traffic]


@dataclass(frozen=True, kw_only=True, slots=True)
class Ledger:
    """Traffic of every source.

    Attributes:
        accounts: by name of the source.
        lost: sources whose account was lost (a damaged file). Nobody knows which part of their
            counters was reported already, so the first look only notes where they stand: that
            traffic goes unreported, which is better than reported, and billed, twice.
    """

    accounts: Mapping[str, Account] = field(default_factory=dict)
    lost: frozenset[str] = frozenset()


def haproxy_source(lb_id: str) -> str:
    """Name of the haproxy of one load balancer, as a source."""
    return f"haproxy:{lb_id}"


def haproxy_observation(lb_id: str, snapshot: Snapshot) -> Observation:
    """Take the controller's listeners, pools and members out of what haproxy says."""
    worker = snapshot.worker
    return Observation(
        source=haproxy_source(lb_id),
        worker=f"{worker.pid}@{worker.started_s}",
        listeners={
            frontend.name: _listener(frontend)
            for frontend in snapshot.frontends
            if is_object_id(frontend.name)
        },
        pools={
            backend.name: _pool(backend)
            for backend in snapshot.backends
            if _POOL_NAME.fullmatch(backend.name)
        },
    )


def is_object_id(name: str) -> bool:
    """Whether a name is an id of the controller (a UUID)."""
    return _OBJECT_NAME.fullmatch(name) is not None


def observe(
    ledger: Ledger, observations: Iterable[Observation], *, existing: Collection[str]
) -> Ledger:
    """Enter what is new into the ledger.

    A listener that its own source no longer names was deleted, and its account goes with it. A
    source that did not answer keeps its account as long as it exists.

    Args:
        existing: names of all sources there are, whether they answered or not.
    """
    accounts = {name: account for name, account in ledger.accounts.items() if name in existing}
    lost = {name for name in ledger.lost if name in existing}
    for observation in observations:
        name = observation.source
        accounts[name] = _entered(accounts.get(name), observation, lost=name in lost)
        lost.discard(name)
    return Ledger(accounts=accounts, lost=frozenset(lost))


def settle(ledger: Ledger, observations: Iterable[Observation]) -> Ledger:
    """Take off what a message with these observations carried, once it has left."""
    accounts = dict(ledger.accounts)
    for observation in observations:
        account = accounts[observation.source]
        unsent = {
            listener_id: traffic
            for listener_id, traffic in account.unsent.items()
            if not observation.listeners[listener_id].is_served
        }
        accounts[observation.source] = Account(
            worker=account.worker, totals=account.totals, unsent=unsent
        )
    return Ledger(accounts=accounts, lost=ledger.lost)


def build(
    *, amphora_id: str, sequence: int, observations: Iterable[Observation], ledger: Ledger
) -> Message:
    """The message for these observations, which must be in the ledger already.

    It lists exactly the listeners that are served: with one more or one less than the controller
    has enabled, the message is no sign of life.
    """
    listeners: dict[str, ListenerEntry] = {}
    pools: dict[str, PoolEntry] = {}
    for observation in observations:
        unsent = ledger.accounts[observation.source].unsent
        for listener_id, listener in observation.listeners.items():
            if not listener.is_served:
                continue
            listeners[listener_id] = _listener_entry(listener, unsent.get(listener_id, Traffic()))
        for key, pool in observation.pools.items():
            pools[key] = {"status": pool.status, "members": dict(pool.members)}
    return {
        "id": amphora_id,
        "seq": sequence,
        "ver": MESSAGE_VERSION,
        "listeners": listeners,
        "pools": pools,
    }


def encode(message: Message, *, key: str) -> bytes:
    """The datagram: the JSON text as a zlib stream, then its HMAC-SHA256 in lower-case hex."""
    text = json.dumps(message, separators=(",", ":")).encode()
    # Most of a message is random ids, where short matches cost more than they save: Z_FILTERED
    # leaves them out and is 10 % smaller from some hundred members on. Level 9 takes 0.25 ms for
    # 200 members, 8 ms for the largest message there can be.
    packer = zlib.compressobj(level=9, strategy=zlib.Z_FILTERED)
    packed = packer.compress(text) + packer.flush()
    return packed + hmac.digest(key.encode(), packed, "sha256").hex().encode()


def fit(message: Message, *, key: str, limit: int = DATAGRAM_MAX) -> tuple[bytes, str]:
    """The datagram, made smaller if it must be, and what was left out ("" for nothing).

    First the members go, then the pools; the controller shows them as OFFLINE while they are
    missing. Listeners stay, because without one of them the message is no sign of life and the
    controller would replace the amphora.
    """
    data = encode(message, key=key)
    if len(data) <= limit:
        return data, ""
    bare: dict[str, PoolEntry] = {
        name: {"status": pool["status"], "members": {}} for name, pool in message["pools"].items()
    }
    data = encode({**message, "pools": bare}, key=key)
    if len(data) <= limit:
        return data, "members"
    return encode({**message, "pools": {}}, key=key), "pools"


def keepalived_fault(pid_text: str | None, process_stat: str | None) -> str:
    """Why a configured keepalived does not run; "" when it does.

    A heartbeat must not be sent then: its absence is what makes the controller replace an amphora
    that can no longer take the VIP over.

    Args:
        pid_text: content of the pid file; None when there is none.
        process_stat: /proc/<pid>/stat (proc(5)); None when there is no such process.
    """
    if pid_text is None:
        return "its pid file is missing"
    pid = parse_pid(pid_text)
    if pid is None:
        return "its pid file holds no process id"
    if process_stat is None:
        return f"process {pid} does not exist"
    # pid (name) state ...; a name may hold spaces and parentheses.
    head, _, tail = process_stat.rpartition(") ")
    name = head.partition(" (")[2]
    if tail[:1] in {"Z", "X"}:
        return f"process {pid} has ended"
    if not name.startswith("keepalived"):
        # After a restart of the amphora an old pid file names whatever process has the number.
        return f"process {pid} is {name!r}"
    return ""


def parse_pid(text: str) -> int | None:
    """The process id in a pid file; None when there is none."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and 1 <= len(text) <= 9 else None


def next_due(due_s: float, *, now_s: float, interval_s: float) -> float:
    """When the next heartbeat is due, on the grid that `due_s` began.

    After a stall the missed ones are left out, not sent in a burst.
    """
    return due_s + interval_s * max(1, int((now_s - due_s) // interval_s) + 1)


def dump(ledger: Ledger) -> bytes:
    """The ledger as the text of its file."""
    return json.dumps(
        {
            "version": _LEDGER_VERSION,
            "lost": sorted(ledger.lost),
            "accounts": {
                name: {
                    "worker": account.worker,
                    "totals": _traffic_rows(account.totals),
                    "unsent": _traffic_rows(account.unsent),
                }
                for name, account in ledger.accounts.items()
            },
        },
        separators=(",", ":"),
    ).encode()


def load(data: bytes) -> Ledger:
    """Read the text of a ledger's file.

    Raises:
        ParseError: it is not what `dump` writes.
    """
    try:
        document = json.loads(data)
        if document["version"] != _LEDGER_VERSION:
            raise ParseError("the counters have another format", f"{document['version']!r:.80}")
        return Ledger(
            lost=frozenset(_text(name) for name in document["lost"]),
            accounts={
                name: Account(
                    worker=_text(account["worker"]),
                    totals=_traffic_table(account["totals"]),
                    unsent=_traffic_table(account["unsent"]),
                )
                for name, account in document["accounts"].items()
            },
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        raise ParseError("the counters are damaged", f"{type(exc).__name__}: {exc}") from exc


def _listener(frontend: Frontend) -> Listener:
    return Listener(
        status=frontend.status,
        connections=frontend.sessions,
        totals=Traffic(
            bin=frontend.bytes_in,
            bout=frontend.bytes_out,
            ereq=frontend.request_errors,
            stot=frontend.sessions_total,
        ),
    )


def _pool(backend: Backend) -> Pool:
    return Pool(
        status=backend.status,
        members={
            server.name: _member_status(server)
            for server in backend.servers
            if is_object_id(server.name)
        },
    )


def _member_status(server: Server) -> str:
    # Weight 0 is how Octavia drains a member; haproxy goes on calling it UP.
    if server.status == "UP" and server.weight == 0:
        return "DRAIN"
    # haproxy adds a reason, as in "MAINT (resolution)"; the controller knows the bare words only.
    word, _, _ = server.status.partition(" (")
    return word if word in {"DRAIN", "MAINT"} else server.status


def _entered(account: Account | None, observation: Observation, *, lost: bool) -> Account:
    totals = {name: listener.totals for name, listener in observation.listeners.items()}
    if lost:
        return Account(worker=observation.worker, totals=totals, unsent={})
    earlier: Mapping[str, Traffic] = {}
    unsent: Mapping[str, Traffic] = {}
    if account is not None:
        unsent = account.unsent
        if account.worker == observation.worker:
            earlier = account.totals
    zero = Traffic()
    sums = {
        name: unsent.get(name, zero) + now.since(earlier.get(name, zero))
        for name, now in totals.items()
    }
    return Account(
        worker=observation.worker,
        totals=totals,
        unsent={name: traffic for name, traffic in sums.items() if traffic},
    )


def _listener_entry(listener: Listener, traffic: Traffic) -> ListenerEntry:
    return {
        "status": listener.status,
        "stats": {
            "tx": traffic.bout,
            "rx": traffic.bin,
            "conns": listener.connections,
            "totconns": traffic.stot,
            "ereq": traffic.ereq,
        },
    }


def _traffic_rows(table: Mapping[str, Traffic]) -> dict[str, dict[str, int]]:
    return {
        name: {entry.name: getattr(traffic, entry.name) for entry in fields(Traffic)}
        for name, traffic in table.items()
    }


def _traffic_table(rows: Mapping[str, Mapping[str, object]]) -> dict[str, Traffic]:
    return {
        name: Traffic(**{entry.name: _count(row[entry.name]) for entry in fields(Traffic)})
        for name, row in rows.items()
    }


def _count(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r:.80} is not a counter")
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r:.80} is not a text")
    return value
