# SPDX-License-Identifier: Apache-2.0
"""The kernel's network state, by netlink."""

import contextlib
import errno
import fcntl
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import IPv6Address, ip_address, ip_interface, ip_network
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from amphora_agent import plan
from amphora_agent.errors import AgentError, InvalidRequest
from amphora_agent.models import (
    IPAddress,
    IPInterface,
    Link,
    LiveInterface,
    LiveRoute,
    Route,
    Rule,
)
from amphora_agent.system import namespace

_PCI_RESCAN = Path("/sys/bus/pci/rescan")
# It is there while udev works on events.
_UDEV_QUEUE = Path("/run/udev/queue")
_IPV6_SETTINGS = Path("/proc/sys/net/ipv6/conf")
# Heed router advertisements although packets are forwarded (kernel's ip-sysctl.rst).
_ACCEPT_RA_ALWAYS = "2"

# struct ifreq of 64-bit Linux, with the name alone; linux/sockios.h
_IFREQ = "16s24x"
_SIOCGIFFLAGS = 0x8913
_SIOCGIFHWADDR = 0x8927

# linux/rtnetlink.h and linux/if_addr.h
_PROTOCOL_STATIC = 4
_SCOPE_UNIVERSE = 0
_SCOPE_LINK = 253
_TYPE_UNICAST = 1
_TABLE_LOCAL = 255
_FLAG_UP = 0x1
_FLAG_LOOPBACK = 0x8
_ADDRESS_PERMANENT = 0x80
_ADDRESS_TENTATIVE = 0x40
_TOLERATED = {
    "exists": {errno.EEXIST},
    "missing": {errno.ESRCH, errno.ENOENT, errno.EADDRNOTAVAIL},
}
# The kernel lists rules of multicast routing under families of their own.
_FAMILIES = frozenset({socket.AF_INET, socket.AF_INET6})

# Order of our policy rules; keepalived uses the same for the VIP of a pair.
_RULE_PRIORITY = 100

# IPv6 duplicate address detection ends after one second, or never if the link has no carrier.
_DAD_TIMEOUT_S = 30.0
_DAD_POLL_S = 0.05


class Network(Protocol):
    """NICs of the amphora, in its own namespace ("inside") and in the root one ("outside")."""

    def namespace_exists(self) -> bool:
        """Whether the amphora's namespace is there."""

    def outside(self, mac: str) -> Link | None:
        """The NIC of a MAC address that is still in the root namespace.

        Raises:
            InvalidRequest: several NICs have it, so that nobody can tell which is meant.
        """

    def inside(self, mac: str) -> Link | None:
        """The NIC of a MAC address that is in the amphora's namespace."""

    def names(self) -> frozenset[str]:
        """Names of all interfaces in the amphora's namespace."""

    def addresses(self, name: str) -> tuple[IPInterface, ...]:
        """All addresses of an interface of the amphora's namespace that others can reach."""

    def settled(self) -> bool:
        """Whether the machine has nothing to do with devices that it found lately."""

    def rescan(self) -> None:
        """Ask the PCI bus for devices that were plugged but not noticed."""

    def adopt(self, link: Link, name: str) -> None:
        """Move a NIC into the amphora's namespace under a new name, in one step."""

    def live(self, name: str) -> LiveInterface:
        """State of an interface of the amphora's namespace."""

    def apply(self, name: str, step: plan.Step) -> None:
        """Take one step of a plan for an interface of the amphora's namespace."""

    def interface_with(self, address: IPAddress) -> str | None:
        """Name of the interface of the amphora's namespace that bears an address now."""


class NetlinkNetwork:
    """The network of this machine.

    Args:
        netns: name of the amphora's namespace.
    """

    def __init__(self, netns: str) -> None:
        self._netns = netns

    def namespace_exists(self) -> bool:
        """See Network."""
        return namespace.exists(self._netns)

    def outside(self, mac: str) -> Link | None:
        """See Network."""
        found = _link_with(None, mac)
        if found is None:
            return None
        index, name = found
        with self._netlink(None) as netlink:
            in_use = any(
                entry["scope"] == _SCOPE_UNIVERSE for entry in netlink.get_addr(index=index)
            )
        return Link(index=index, name=name, in_use=in_use)

    def inside(self, mac: str) -> Link | None:
        """See Network."""
        found = _link_with(self._netns, mac)
        return None if found is None else Link(index=found[0], name=found[1], in_use=True)

    def names(self) -> frozenset[str]:
        """See Network."""
        found = namespace.call(self._netns, socket.if_nameindex)
        return frozenset(name for _, name in found)

    def addresses(self, name: str) -> tuple[IPInterface, ...]:
        """See Network."""
        with self._netlink(self._netns) as netlink:
            found = _addresses(netlink, _index(netlink, name))
            return tuple(address for address, _ in found)

    def settled(self) -> bool:
        """See Network."""
        return not _UDEV_QUEUE.exists()

    def rescan(self) -> None:
        """See Network."""
        # Machines without a PCI bus, and read-only /sys in containers, have nothing to rescan.
        with contextlib.suppress(OSError):
            _PCI_RESCAN.write_text("1")

    def adopt(self, link: Link, name: str) -> None:
        """See Network."""
        with self._netlink(None) as netlink:
            # A NIC that is up cannot be renamed.
            netlink.link("set", index=link.index, state="down")
            netlink.link("set", index=link.index, ifname=name, net_ns_fd=self._netns)

    def live(self, name: str) -> LiveInterface:
        """See Network."""
        with self._netlink(self._netns) as netlink:
            index = _index(netlink, name)
            link = next(iter(netlink.get_links(index)))
            addresses = list(_addresses(netlink, index))
            return LiveInterface(
                up=bool(link["flags"] & _FLAG_UP),
                mtu=link.get_attr("IFLA_MTU"),
                addresses=tuple(address for address, permanent in addresses if permanent),
                routes=tuple(_routes(netlink, index)),
                rules=tuple(_rules(netlink)),
                leased=tuple(address for address, permanent in addresses if not permanent),
                automatic=self._accepts_advertisements(name),
            )

    def apply(self, name: str, step: plan.Step) -> None:
        """See Network."""
        if isinstance(step, plan.SetAutomatic):
            self._heed_advertisements(name, enabled=step.enabled)
            return
        with self._netlink(self._netns) as netlink:
            try:
                _take(step, netlink, _index(netlink, name))
            except _pyroute2().NetlinkError as exc:
                raise AgentError(f"The kernel refused {step} on {name}", str(exc)) from exc

    def interface_with(self, address: IPAddress) -> str | None:
        """See Network."""
        with self._netlink(self._netns) as netlink:
            for entry in netlink.get_addr():
                if ip_address(_own_address(entry)) == address:
                    link = next(iter(netlink.get_links(entry["index"])))
                    return str(link.get_attr("IFLA_IFNAME"))
        return None

    def _accepts_advertisements(self, name: str) -> bool | None:
        setting = _IPV6_SETTINGS / name / "accept_ra"
        try:
            return namespace.call(self._netns, setting.read_text).strip() == _ACCEPT_RA_ALWAYS
        except FileNotFoundError:
            return None

    def _heed_advertisements(self, name: str, *, enabled: bool) -> None:
        def write() -> None:
            directory = _IPV6_SETTINGS / name
            (directory / "accept_ra").write_text(_ACCEPT_RA_ALWAYS if enabled else "0")
            (directory / "autoconf").write_text("1" if enabled else "0")

        try:
            namespace.call(self._netns, write)
        except OSError as exc:
            raise AgentError(
                f"Router advertisements on {name} cannot be set", f"{exc.filename}: {exc.strerror}"
            ) from exc

    @contextlib.contextmanager
    def _netlink(self, netns: str | None) -> Iterator[Any]:
        try:
            # With strict checks the kernel itself leaves out what belongs to other interfaces.
            netlink = namespace.call(netns, lambda: _pyroute2().IPRoute(strict_check=True))
        except OSError as exc:
            raise AgentError("Netlink is not available", str(exc)) from exc
        try:
            with netlink:
                yield netlink
        except _pyroute2().NetlinkError as exc:
            raise AgentError("The kernel refused a network request", str(exc)) from exc


def _pyroute2() -> ModuleType:
    """The library, imported when it is first needed: an agent that starts is to answer soon."""
    from amphora_agent.system import netlink  # noqa: PLC0415

    return netlink


def _take(step: plan.Step, netlink: Any, index: int) -> None:
    match step:
        case plan.SetLink(mtu=mtu):
            netlink.link("set", index=index, state="up", **({} if mtu is None else {"mtu": mtu}))
        case plan.SetLinkDown():
            netlink.link("set", index=index, state="down")
        case plan.AddAddress(address):
            with _tolerate("exists"):
                netlink.addr("add", **_address_request(address, index))
            if isinstance(address.ip, IPv6Address):
                _wait_until_usable(netlink, index, address.ip)
        case plan.DeleteAddress(address):
            with _tolerate("missing"):
                netlink.addr("del", **_address_request(address, index))
        case plan.AddRoute(route):
            with _tolerate("exists"):
                netlink.route("add", **_route_request(route, index))
        case plan.DeleteRoute(route):
            with _tolerate("missing"):
                netlink.route("del", **_route_request(route, index))
        case plan.AddRule(rule):
            with _tolerate("exists"):
                netlink.rule("add", **_rule_request(rule))
        case plan.DeleteRule(rule):
            with _tolerate("missing"):
                netlink.rule("del", **_rule_request(rule))


@contextlib.contextmanager
def _tolerate(kind: str) -> Iterator[None]:
    """Let a step pass that has been taken already, by an earlier run or by the kernel."""
    try:
        yield
    except _pyroute2().NetlinkError as exc:
        if exc.code not in _TOLERATED[kind]:
            raise


def _links() -> Iterator[tuple[int, str, str, int]]:
    """Index, name, MAC address and flags of every interface of the calling thread's namespace.

    By ioctl(2), see netdevice(7): a dump by netlink brings two hundred attributes of each.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for index, name in socket.if_nameindex():
            request = struct.pack(_IFREQ, name.encode())
            # It may go while it is looked at.
            with contextlib.suppress(OSError):
                address = fcntl.ioctl(sock, _SIOCGIFHWADDR, request)[18:24]
                (flags,) = struct.unpack_from("H", fcntl.ioctl(sock, _SIOCGIFFLAGS, request), 16)
                yield index, name, address.hex(":"), flags


def _link_with(netns: str | None, mac: str) -> tuple[int, str] | None:
    """Index and name of the interface that has a MAC address."""
    found = [
        (index, name)
        for index, name, address, flags in namespace.call(netns, lambda: list(_links()))
        if address == mac and not flags & _FLAG_LOOPBACK
    ]
    if len(found) > 1:
        names = " and ".join(name for _, name in found)
        raise InvalidRequest("Duplicate MAC address", f"{names} both have {mac}")
    return found[0] if found else None


def _index(netlink: Any, name: str) -> int:
    indexes: list[int] = netlink.link_lookup(ifname=name)
    if not indexes:
        raise AgentError(f"Interface {name} is missing", "it was unplugged, or never plugged")
    return indexes[0]


def _own_address(entry: Any) -> str:
    # On a point-to-point link IFA_ADDRESS is the other end's.
    return str(entry.get_attr("IFA_LOCAL") or entry.get_attr("IFA_ADDRESS"))


def _flags(entry: Any) -> int:
    flags = entry.get_attr("IFA_FLAGS")
    return int(entry["flags"] if flags is None else flags)


def _addresses(netlink: Any, index: int) -> Iterator[tuple[IPInterface, bool]]:
    """Addresses that are more than link-local ones of IPv6, and whether they are permanent."""
    for entry in netlink.get_addr(index=index):
        address = ip_interface(f"{_own_address(entry)}/{entry['prefixlen']}")
        if not (address.version == 6 and address.ip.is_link_local):
            yield address, bool(_flags(entry) & _ADDRESS_PERMANENT)


def _wait_until_usable(netlink: Any, index: int, address: IPv6Address) -> None:
    deadline = time.monotonic() + _DAD_TIMEOUT_S
    while time.monotonic() < deadline:
        for entry in netlink.get_addr(index=index, family=socket.AF_INET6):
            if ip_address(_own_address(entry)) == address and _flags(entry) & _ADDRESS_TENTATIVE:
                break
        else:
            return
        time.sleep(_DAD_POLL_S)


def _routes(netlink: Any, index: int) -> Iterator[LiveRoute]:
    for entry in netlink.get_routes(oif=index):
        table = entry.get_attr("RTA_TABLE")
        if entry["type"] != _TYPE_UNICAST or table == _TABLE_LOCAL:
            continue
        anywhere = "::" if entry["family"] == socket.AF_INET6 else "0.0.0.0"  # noqa: S104
        destination = ip_network(f"{entry.get_attr('RTA_DST') or anywhere}/{entry['dst_len']}")
        if destination.version == 6 and destination.is_link_local:
            continue
        yield LiveRoute(
            route=Route(
                destination=destination,
                gateway=_optional_address(entry.get_attr("RTA_GATEWAY")),
                source=_optional_address(entry.get_attr("RTA_PREFSRC")),
                table=table,
            ),
            ours=entry["proto"] == _PROTOCOL_STATIC,
        )


def _rules(netlink: Any) -> Iterator[Rule]:
    for entry in netlink.get_rules():
        source = entry.get_attr("FRA_SRC")
        ours = entry.get_attr("FRA_PROTOCOL") == _PROTOCOL_STATIC
        if entry["family"] in _FAMILIES and source and ours:
            yield Rule(
                source=ip_network(f"{source}/{entry['src_len']}"),
                table=entry.get_attr("FRA_TABLE"),
            )


def _optional_address(text: str | None) -> IPAddress | None:
    return None if text is None else ip_address(text)


def _address_request(address: IPInterface, index: int) -> dict[str, Any]:
    return {
        "index": index,
        "address": str(address.ip),
        "prefixlen": address.network.prefixlen,
    }


def _route_request(route: Route, index: int) -> dict[str, Any]:
    request: dict[str, Any] = {
        "family": socket.AF_INET6 if route.destination.version == 6 else socket.AF_INET,
        "dst": str(route.destination),
        "oif": index,
        "table": route.table,
        "proto": _PROTOCOL_STATIC,
        "scope": _SCOPE_LINK if route.gateway is None else _SCOPE_UNIVERSE,
    }
    if route.gateway is not None:
        # A gateway outside the subnet is usual with Neutron's host routes.
        request |= {"gateway": str(route.gateway), "flags": ["onlink"]}
    if route.source is not None:
        request["prefsrc"] = str(route.source)
    return request


def _rule_request(rule: Rule) -> dict[str, Any]:
    return {
        "family": socket.AF_INET6 if rule.source.version == 6 else socket.AF_INET,
        "src": str(rule.source.network_address),
        "src_len": rule.source.prefixlen,
        "table": rule.table,
        "priority": _RULE_PRIORITY,
        "protocol": _PROTOCOL_STATIC,
    }
