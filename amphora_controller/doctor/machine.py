# SPDX-License-Identifier: Apache-2.0
"""What the kernel of this machine tells: links, routes, and who listens. Nothing is changed."""

import re
import threading
from contextlib import closing, suppress
from ipaddress import IPv4Interface, IPv6Interface, ip_address, ip_interface
from pathlib import Path

from amphora_agent.system.netlink import IPRoute, NetlinkError
from amphora_agent.system.proc import read_text
from amphora_controller.doctor import proc_net
from amphora_controller.doctor.managers import Owner, UdpSocket
from amphora_controller.doctor.network import Link, Route
from amphora_controller.doctor.options import Address

# <linux/if.h> and <linux/if_addr.h>
_IFF_UP = 0x1
_IFF_LOWER_UP = 0x10000
_IFA_F_UNUSABLE = 0x08 | 0x40  # duplicate, tentative

# Of the calling thread's namespace; /proc/net is that of the whole process.
_TABLES = Path("/proc/thread-self/net")


def links() -> tuple[Link, ...]:
    """Every network interface."""
    with closing(IPRoute()) as netlink:
        found = list(netlink.get_links())
        held = list(netlink.get_addr())
    usable: dict[int, list[IPv4Interface | IPv6Interface]] = {}
    unusable: dict[int, list[IPv4Interface | IPv6Interface]] = {}
    for message in held:
        address = message.get_attr("IFA_LOCAL") or message.get_attr("IFA_ADDRESS")
        flags = message.get_attr("IFA_FLAGS") or message["flags"]
        kind = unusable if flags & _IFA_F_UNUSABLE else usable
        kind.setdefault(message["index"], []).append(
            ip_interface(f"{address}/{message['prefixlen']}")
        )
    return tuple(
        Link(
            name=message.get_attr("IFLA_IFNAME"),
            is_up=bool(message["flags"] & _IFF_UP),
            has_carrier=bool(message["flags"] & _IFF_LOWER_UP),
            mac=(message.get_attr("IFLA_ADDRESS") or "").lower(),
            mtu_bytes=message.get_attr("IFLA_MTU"),
            addresses=tuple(usable.get(message["index"], ())),
            unusable=tuple(unusable.get(message["index"], ())),
        )
        for message in found
    )


def route(destination: Address) -> Route | None:
    """Where a packet would go; None for nowhere."""
    with closing(IPRoute()) as netlink:
        try:
            answer = netlink.route("get", dst=str(destination))
        except NetlinkError:
            return None
        message = next(iter(answer))
        index = message.get_attr("RTA_OIF")
        names = [
            link.get_attr("IFLA_IFNAME") for link in netlink.get_links() if link["index"] == index
        ]
    if not names:
        return None
    source, gateway = message.get_attr("RTA_PREFSRC"), message.get_attr("RTA_GATEWAY")
    return Route(
        interface=names[0],
        source=ip_address(source) if source else None,
        gateway=ip_address(gateway) if gateway else None,
    )


def udp_sockets(port: int, *, apart_s: float) -> tuple[UdpSocket, ...]:
    """Sockets that are bound to a port, with their owners as far as they may be seen.

    Args:
        apart_s: time between the two looks at what they have not read.
    """
    before = {entry.inode: entry.waiting_bytes for entry in _bound(port)}
    if not before:
        return ()
    # time.sleep fails under libfaketime, by which tests set clocks wrong.
    threading.Event().wait(apart_s)
    found = [entry for entry in _bound(port) if entry.inode in before]
    owners = _owners(set(before))
    return tuple(
        UdpSocket(
            local=entry.local,
            waiting_bytes=(before[entry.inode], entry.waiting_bytes),
            dropped=entry.dropped,
            owners=tuple(owners.get(entry.inode, ())),
        )
        for entry in found
    )


def _bound(port: int) -> list[proc_net.Entry]:
    return [
        entry
        for name in ("udp", "udp6")
        for entry in proc_net.entries(read_text(_TABLES / name) or "")
        if entry.local.port == port
    ]


def _owners(inodes: set[int]) -> dict[int, list[Owner]]:
    """Processes by the socket that they have open."""
    found: dict[int, list[Owner]] = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdecimal():
            continue
        # It may end meanwhile, and without root it may be somebody else's.
        with suppress(OSError):
            for handle in (process / "fd").iterdir():
                match = re.fullmatch(r"socket:\[([0-9]+)\]", str(handle.readlink()))
                if match and int(match[1]) in inodes:
                    owner = Owner(pid=int(process.name), command=_command(process))
                    found.setdefault(int(match[1]), []).append(owner)
    return found


def _command(process: Path) -> str:
    words = (read_text(process / "cmdline") or "").replace("\0", " ")
    return "".join(letter for letter in words if letter.isprintable()).strip()[:120]
