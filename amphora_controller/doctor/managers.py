# SPDX-License-Identifier: Apache-2.0
"""Whether a health manager listens behind every entry of controller_ip_port_list.

A health manager never answers. On this machine the kernel tells who has the port, and whether what
comes in is read. From elsewhere only a refusal is certain: the host's kernel answers a datagram to
a port that nobody has with ICMP. So a second port of the same host is asked as well, which nobody
should have. If that one is refused and the health manager's is not, somebody has it, or a firewall
swallows what goes to it alone; if both are silent, nothing is known.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum, auto

from amphora_controller.doctor.findings import Note, failed, ok, unknown
from amphora_controller.doctor.options import Endpoint

_MANAGER = re.compile(r"health[-_]manager")


class Reply(Enum):
    """What became of datagrams to an endpoint of another host and to its neighbour."""

    REFUSED = auto()
    UNREACHABLE = auto()
    LISTENS = auto()
    SILENT = auto()


@dataclass(frozen=True, kw_only=True, slots=True)
class Owner:
    """A process."""

    pid: int
    command: str


@dataclass(frozen=True, kw_only=True, slots=True)
class UdpSocket:
    """A UDP socket of this machine (/proc/net/udp), looked at twice.

    Attributes:
        waiting_bytes: that its process had not read, the first time and the second.
        dropped: datagrams that its full buffer did not take.
        owners: processes that have it open; empty if that may not be seen.
    """

    local: Endpoint
    waiting_bytes: tuple[int, int]
    dropped: int
    owners: tuple[Owner, ...]

    @property
    def is_left_unread(self) -> bool:
        """Whether what came in stayed there."""
        first, second = self.waiting_bytes
        return 0 < first <= second


def here(item: Endpoint, sockets: Sequence[UdpSocket]) -> Iterator[Note]:
    """An entry with an address of this machine."""
    # A socket of `::` takes IPv4 as well.
    having = [
        found
        for found in sockets
        if found.local.port == item.port
        and (found.local.address == item.address or found.local.address.is_unspecified)
    ]
    if not having:
        others = sorted({str(found.local) for found in sockets if found.local.port == item.port})
        yield failed(
            "nobody listens" + (f" there, only at {', '.join(others)}" if others else " there"),
            "is octavia-health-manager running, and is bind_ip this address? systemctl status "
            "octavia-health-manager",
        )
        return
    owners = [owner for found in having for owner in found.owners]
    managers = [owner for owner in owners if _MANAGER.search(owner.command)]
    if not owners:
        yield unknown("somebody listens there who cannot be seen", "run this as root, on the host")
    elif not managers:
        yield failed(
            f"it belongs to {owners[0].command} (process {owners[0].pid}), not to a health manager",
            "end it, and restart octavia-health-manager",
        )
    elif any(found.is_left_unread for found in having):
        yield failed(
            f"the health manager (process {managers[0].pid}) does not read what comes in",
            "it hangs: see its log, and restart octavia-health-manager",
        )
    else:
        dropped = sum(found.dropped for found in having)
        told = f"; {dropped} heartbeats came faster than it read them" if dropped else ""
        yield ok(f"the health manager on this machine (process {managers[0].pid}) has it{told}")


def elsewhere(reply: Reply) -> Note:
    """An entry with an address of another machine."""
    match reply:
        case Reply.REFUSED:
            return failed(
                "nobody listens there: its host says that the port is closed",
                "start octavia-health-manager there, or take the entry out on every controller",
            )
        case Reply.UNREACHABLE:
            return failed(
                "its host cannot be reached",
                "is that controller up, and its interface on the management network too?",
            )
        case Reply.LISTENS:
            return ok("somebody listens there: its host refuses another port and not this one")
        case Reply.SILENT:
            return unknown(
                "nothing comes back, which a health manager and a firewall have in common",
                "run amphoractl doctor on that controller",
            )
