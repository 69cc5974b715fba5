# SPDX-License-Identifier: Apache-2.0
"""Desired state of the network, and the steps that lead there.

Nothing here touches the kernel: what it has comes in as a `LiveInterface`, what is to be done goes
out as steps. A caller applies the steps, reads the kernel again and asks again, until no step is
left; so a step may have effects that are not foreseen here (deleting a primary IPv4 address can
take its secondary ones along).
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from ipaddress import ip_interface, ip_network
from itertools import count

from amphora_agent.layout import POLICY_TABLE, VIP_INTERFACE
from amphora_agent.models import (
    Address,
    FixedIp,
    Interface,
    InterfaceType,
    IPAddress,
    IPInterface,
    IPNetwork,
    LiveInterface,
    NetworkPlug,
    Route,
    Rule,
    Vip,
    VipPlug,
)
from amphora_agent.topology import Topology

_ANYWHERE = {4: ip_network("0.0.0.0/0"), 6: ip_network("::/0")}


@dataclass(frozen=True, kw_only=True, slots=True)
class SetLink:
    """Bring the interface up, with an MTU in bytes if one is wanted."""

    mtu: int | None


@dataclass(frozen=True, slots=True)
class SetLinkDown:
    """Take the interface down."""


@dataclass(frozen=True, slots=True)
class SetAutomatic:
    """Heed router advertisements, or do not."""

    enabled: bool


@dataclass(frozen=True, slots=True)
class AddAddress:
    """Add an address."""

    address: IPInterface


@dataclass(frozen=True, slots=True)
class DeleteAddress:
    """Delete an address."""

    address: IPInterface


@dataclass(frozen=True, slots=True)
class AddRoute:
    """Add a route."""

    route: Route


@dataclass(frozen=True, slots=True)
class DeleteRoute:
    """Delete a route."""

    route: Route


@dataclass(frozen=True, slots=True)
class AddRule:
    """Add a policy rule."""

    rule: Rule


@dataclass(frozen=True, slots=True)
class DeleteRule:
    """Delete a policy rule."""

    rule: Rule


Step = (
    SetLink
    | SetLinkDown
    | SetAutomatic
    | AddAddress
    | DeleteAddress
    | AddRoute
    | DeleteRoute
    | AddRule
    | DeleteRule
)


def vip_interface(
    plug: VipPlug, topology: Topology, fixed_ips: tuple[FixedIp, ...] = ()
) -> Interface:
    """The interface that a VIP plug asks for.

    With ACTIVE_STANDBY keepalived owns the VIP and everything in the policy table, so that only
    the port's own address and the main table are left for the agent.

    Args:
        fixed_ips: more addresses of the same port, where members share the VIP's network.
    """
    single = topology is Topology.SINGLE
    addresses = []
    if plug.vrrp_ip is not None:
        prefix = plug.vips[0].subnet.prefixlen
        addresses.append(Address(interface=ip_interface(f"{plug.vrrp_ip}/{prefix}")))
    routes: list[Route] = []
    rules = []
    for vip in plug.vips:
        addresses.append(Address(interface=ip_interface(vip.address), owned=single))
        routes += _vip_routes(vip, single=single)
        if single:
            rules.append(Rule(source=_host(vip.address), table=POLICY_TABLE))
    for fixed_ip in fixed_ips:
        addresses.append(Address(interface=fixed_ip.interface))
        routes += _fixed_ip_routes(fixed_ip)
        if fixed_ip.gateway is not None:
            anywhere = _ANYWHERE[fixed_ip.gateway.version]
            routes.append(Route(destination=anywhere, gateway=fixed_ip.gateway))
            if single:
                routes.append(
                    Route(destination=anywhere, gateway=fixed_ip.gateway, table=POLICY_TABLE)
                )
    return Interface(
        name=VIP_INTERFACE,
        type=InterfaceType.VIP,
        mac=plug.mac,
        mtu=plug.mtu,
        addresses=tuple(dict.fromkeys(addresses)),
        routes=_one_per_destination(routes),
        rules=tuple(dict.fromkeys(rules)),
        is_sriov=plug.is_sriov,
        automatic=plug.vrrp_ip is None,
    )


def network_interface(plug: NetworkPlug, name: str) -> Interface:
    """The interface that leads to members: its addresses and host routes, but no gateway.

    The way to everywhere else is the VIP's, and members are on the link or have a host route.
    """
    fixed_ips = plug.fixed_ips or ()
    routes = [route for fixed_ip in fixed_ips for route in _fixed_ip_routes(fixed_ip)]
    return Interface(
        name=name,
        type=InterfaceType.BACKEND,
        mac=plug.mac,
        mtu=plug.mtu,
        addresses=tuple(
            dict.fromkeys(Address(interface=fixed_ip.interface) for fixed_ip in fixed_ips)
        ),
        routes=_one_per_destination(routes),
        rules=(),
        is_sriov=plug.is_sriov,
        automatic=plug.fixed_ips is None,
    )


def with_remembered_vips(plug: VipPlug, remembered: VipPlug | None) -> VipPlug:
    """A VIP as a network plug names it, with the additional VIPs that were plugged before.

    Controllers always send an empty list of them with a network plug; without what is remembered
    those addresses would be deleted.
    """
    if len(plug.vips) > 1 or remembered is None or remembered.mac != plug.mac:
        return plug
    return replace(plug, vips=(*plug.vips, *remembered.vips[1:]))


def free_name(taken: Collection[str]) -> str:
    """The first name that no interface bears, for a NIC that leads to members."""
    return next(name for name in (f"eth{number}" for number in count(2)) if name not in taken)


def _fixed_ip_routes(fixed_ip: FixedIp) -> list[Route]:
    return [
        Route(destination=route.destination, gateway=route.nexthop)
        for route in fixed_ip.host_routes
    ]


def _one_per_destination(routes: Iterable[Route]) -> tuple[Route, ...]:
    """The kernel holds one route to a destination in a table; the first wins, the VIP's own."""
    first: dict[tuple[IPNetwork, int], Route] = {}
    for route in routes:
        first.setdefault((route.destination, route.table), route)
    return tuple(first.values())


def _vip_routes(vip: Vip, *, single: bool) -> list[Route]:
    routes = [Route(destination=vip.subnet)]
    if single:
        routes.append(Route(destination=vip.subnet, source=vip.address, table=POLICY_TABLE))
    onward = [(route.destination, route.nexthop) for route in vip.host_routes]
    if vip.gateway is not None:
        onward.append((_ANYWHERE[vip.address.version], vip.gateway))
    for destination, gateway in onward:
        routes.append(Route(destination=destination, gateway=gateway))
        if single:
            routes.append(Route(destination=destination, gateway=gateway, table=POLICY_TABLE))
    return routes


def _host(address: IPAddress) -> IPNetwork:
    return ip_network(address)


def interface(desired: Interface, live: LiveInterface) -> tuple[Step, ...]:
    """The steps from what the kernel has to what is desired; none when they agree.

    Stale things go before new ones come: adding first would make a new address in the same subnet
    a secondary one, which vanishes with the stale primary where `promote_secondaries` is 0.
    Addresses come before the routes that need them.
    """
    steps: list[Step] = []
    if live.automatic is not None and desired.automatic != live.automatic:
        # Before the link is up: that is when the kernel asks for advertisements.
        steps.append(SetAutomatic(desired.automatic))
    if not live.up or (desired.mtu is not None and desired.mtu != live.mtu):
        steps.append(SetLink(mtu=desired.mtu))
    known = {address.interface for address in desired.addresses}
    wanted_routes = set(desired.routes)
    live_routes = {_comparable(entry.route, wanted_routes) for entry in live.routes}
    if desired.type is InterfaceType.VIP:
        # Rules belong to no interface: all of them are the VIP's.
        steps += [DeleteRule(rule) for rule in live.rules if rule not in desired.rules]
    steps += [
        DeleteRoute(entry.route)
        for entry in live.routes
        if entry.ours and _comparable(entry.route, wanted_routes) not in wanted_routes
    ]
    stale = live.addresses if desired.automatic else live.addresses + live.leased
    steps += [DeleteAddress(address) for address in stale if address not in known]
    steps += [
        AddAddress(address.interface)
        for address in desired.addresses
        if address.owned and address.interface not in live.addresses
    ]
    steps += [AddRoute(route) for route in desired.routes if route not in live_routes]
    steps += [AddRule(rule) for rule in desired.rules if rule not in live.rules]
    return tuple(steps)


def down(desired: Interface, live: LiveInterface) -> tuple[Step, ...]:
    """The steps that take out of use what `interface` brings up; none when nothing is left.

    What keepalived owns stays with it until the link goes down.
    """
    foreign = {entry.interface for entry in desired.addresses if not entry.owned}
    steps: list[Step] = []
    if desired.type is InterfaceType.VIP:
        steps += [DeleteRule(rule) for rule in live.rules]
    steps += [DeleteRoute(entry.route) for entry in live.routes if entry.ours]
    steps += [
        DeleteAddress(address) for address in live.addresses + live.leased if address not in foreign
    ]
    if live.up:
        steps.append(SetLinkDown())
    return tuple(steps)


def _comparable(live: Route, wanted: set[Route]) -> Route:
    """A live route as the desired state would write it.

    The kernel's own route of a subnet bears the address it came with as its source. Where the
    subnet is wanted without a source, that route serves.
    """
    plain = Route(destination=live.destination, gateway=live.gateway, table=live.table)
    return plain if plain in wanted else live
