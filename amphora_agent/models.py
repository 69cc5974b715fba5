# SPDX-License-Identifier: Apache-2.0
"""Values that the layers hand to each other."""

from dataclasses import dataclass
from enum import StrEnum
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)

IPAddress = IPv4Address | IPv6Address
IPInterface = IPv4Interface | IPv6Interface
IPNetwork = IPv4Network | IPv6Network


class Action(StrEnum):
    """What a controller may ask of the process that serves a load balancer."""

    START = "start"
    STOP = "stop"
    RELOAD = "reload"


class InterfaceType(StrEnum):
    """What an interface of the namespace is for."""

    VIP = "vip"
    BACKEND = "backend"


class RuleProtocol(StrEnum):
    """What a firewall rule lets in, by the controller's names."""

    TCP = "TCP"
    UDP = "UDP"
    SCTP = "SCTP"
    VRRP = "vrrp"


@dataclass(frozen=True, kw_only=True, slots=True)
class FirewallRule:
    """Something that may come in through the VIP's NIC.

    Attributes:
        cidr: where it may come from; None for anywhere.
        port: destination port; for VRRP the number of the IP protocol.
    """

    protocol: RuleProtocol
    cidr: IPNetwork | None
    port: int


@dataclass(frozen=True, kw_only=True, slots=True)
class ListenerStatus:
    """A listener as `GET listeners` tells of it: ACTIVE, OFFLINE or ERROR, and its protocol."""

    uuid: str
    status: str
    type: str


@dataclass(frozen=True, kw_only=True, slots=True)
class HostRoute:
    """A route that Neutron gives to the hosts of a subnet."""

    destination: IPNetwork
    nexthop: IPAddress


@dataclass(frozen=True, kw_only=True, slots=True)
class Vip:
    """One virtual IP address with the subnet it lies in.

    Attributes:
        gateway: of the subnet; None when the subnet has none.
    """

    address: IPAddress
    subnet: IPNetwork
    gateway: IPAddress | None
    host_routes: tuple[HostRoute, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class VipPlug:
    """A request to plug the VIP's NIC.

    Attributes:
        vips: the primary VIP first, then the additional ones.
        mac: of the NIC, in lower case with colons.
        mtu: bytes; None keeps the NIC's.
        vrrp_ip: the port's own address, in the subnet of the primary VIP.
        is_sriov: the NIC is a virtual function, out of Neutron's firewall.
    """

    vips: tuple[Vip, ...]
    mac: str
    mtu: int | None
    vrrp_ip: IPAddress | None
    is_sriov: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class FixedIp:
    """An address of a port in a network of members.

    Attributes:
        interface: the address with the prefix length of its subnet.
        gateway: of the subnet; used on the VIP's NIC only.
    """

    interface: IPInterface
    gateway: IPAddress | None
    host_routes: tuple[HostRoute, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkPlug:
    """A request to plug a NIC that leads to members.

    Attributes:
        mac: of the NIC, in lower case with colons.
        fixed_ips: all of the port's addresses; None when they come by DHCP and router
            advertisements.
        mtu: bytes; None keeps the NIC's.
        vip: what is plugged on the same NIC, if it is the VIP's.
    """

    mac: str
    fixed_ips: tuple[FixedIp, ...] | None
    mtu: int | None
    is_sriov: bool
    vip: VipPlug | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Address:
    """An address of an interface.

    Attributes:
        owned: False when another program (keepalived) adds and deletes it.
    """

    interface: IPInterface
    owned: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """A route out of one interface; without a gateway the destination is on the link.

    Attributes:
        source: preferred source address.
        table: number of the routing table; 254 is the main one.
    """

    destination: IPNetwork
    gateway: IPAddress | None = None
    source: IPAddress | None = None
    table: int = 254


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A policy rule: packets from `source` look up `table`."""

    source: IPNetwork
    table: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Interface:
    """Desired state of one interface of the namespace.

    Attributes:
        automatic: addresses come by DHCP and router advertisements, beside those named here.
    """

    name: str
    type: InterfaceType
    mac: str
    mtu: int | None
    addresses: tuple[Address, ...]
    routes: tuple[Route, ...]
    rules: tuple[Rule, ...]
    is_sriov: bool = False
    automatic: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveRoute:
    """A route that the kernel has.

    Attributes:
        ours: it was added by hand or by this agent (protocol static).
    """

    route: Route
    ours: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class LiveInterface:
    """What the kernel says of one interface.

    Attributes:
        addresses: permanent ones only, link-local IPv6 ones left out.
        rules: those of protocol static, so that the kernel's and keepalived's are left alone.
        leased: addresses with a lifetime, from DHCP and router advertisements.
        automatic: it heeds router advertisements; None where there is no IPv6.
    """

    up: bool
    mtu: int
    addresses: tuple[IPInterface, ...]
    routes: tuple[LiveRoute, ...]
    rules: tuple[Rule, ...]
    leased: tuple[IPInterface, ...] = ()
    automatic: bool | None = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A NIC in a namespace.

    Attributes:
        index, name: its own there.
        in_use: it bears an address that others can reach, as the management NIC does.
    """

    index: int
    name: str
    in_use: bool
