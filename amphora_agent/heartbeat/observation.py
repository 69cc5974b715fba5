# SPDX-License-Identifier: Apache-2.0
"""One look at one source of listeners: a haproxy, or the keepalived of a UDP or SCTP listener."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

# What haproxy says of a frontend that accepts connections (FULL: it has reached its maxconn).
_SERVING = frozenset({"OPEN", "FULL"})


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


Counters = Mapping[str, Traffic]
"""By listener id."""


def total(tables: Iterable[Counters]) -> dict[str, Traffic]:
    """The sum of several tables of counters."""
    sums: dict[str, Traffic] = {}
    for table in tables:
        for listener_id, traffic in table.items():
            sums[listener_id] = sums.get(listener_id, Traffic()) + traffic
    return sums


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """A listener that a source knows.

    Attributes:
        status: OPEN or FULL when it is served, another word when it is not.
        connections: open ones.
    """

    status: str
    connections: int

    @property
    def is_served(self) -> bool:
        """Whether clients can connect; only then it belongs into a message."""
        return self.status in _SERVING


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """A pool as one listener uses it.

    Attributes:
        pool_id: its id alone.
        listener_id: whose default pool it is, or where rules lead to it.
        status: UP or DOWN.
        members: the status of each by its id.
    """

    pool_id: str
    listener_id: str
    status: str
    members: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Observation:
    """One look at one source of listeners.

    Attributes:
        source: stable name of what was asked, such as `haproxy:<load balancer id>`.
        counters: traffic by what counted it since its own start: a process of haproxy, or a
            service of IPVS. Several may count for one listener.
        silent: names of those that exist, but did not tell their counters this time.
        listeners: by listener id.
        pools: by the key on the wire, `<pool id>:<listener id>` for haproxy.
        is_per_listener: a controller gave each listener a haproxy of its own (API 0.5).
    """

    source: str
    counters: Mapping[str, Counters]
    silent: frozenset[str] = frozenset()
    listeners: Mapping[str, Listener]
    pools: Mapping[str, Pool]
    is_per_listener: bool = False
