# SPDX-License-Identifier: Apache-2.0
"""One look at one source of listeners: a haproxy, or the keepalived of a UDP or SCTP listener."""

from collections.abc import Mapping
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
