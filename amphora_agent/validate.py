# SPDX-License-Identifier: Apache-2.0
"""JSON of requests into models, with errors that name the part that is wrong."""

import re
from collections.abc import Iterable
from ipaddress import ip_address, ip_interface, ip_network
from typing import Annotated, TypeVar

import msgspec

from amphora_agent.errors import InvalidRequest, MalformedRequest
from amphora_agent.models import (
    Address,
    FirewallRule,
    FixedIp,
    HostRoute,
    Interface,
    InterfaceType,
    IPAddress,
    IPNetwork,
    NetworkPlug,
    Route,
    Rule,
    RuleProtocol,
    Vip,
    VipPlug,
)

T = TypeVar("T")

_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
# The smallest MTU that IPv4 allows, and the largest length of an Ethernet jumbo frame's IP packet.
_MTU_MIN, _MTU_MAX = 68, 65535
# The kernel takes IPv6 away from an interface with less (RFC 8200, section 5).
_IPV6_MTU_MIN = 1280


_Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]


class _HostRoute(msgspec.Struct):
    destination: str
    nexthop: str


class _AdditionalVip(msgspec.Struct):
    ip_address: str
    subnet_cidr: str
    gateway: str | None = None
    host_routes: list[_HostRoute] | None = None


class _PlugVip(msgspec.Struct):
    """Body of POST plug/vip (octavia's rest_api_driver.py, post_vip_plug)."""

    subnet_cidr: str
    gateway: str | None
    mac_address: str
    mtu: int | None = None
    vrrp_ip: str | None = None
    host_routes: list[_HostRoute] | None = None
    additional_vips: list[_AdditionalVip] | None = None
    # Absent and null are false.
    is_sriov: bool | None = False


class _VipNetInfo(_PlugVip, kw_only=True):
    """The VIP on a port that leads to members too."""

    vip: str


class _FixedIp(msgspec.Struct):
    ip_address: str
    subnet_cidr: str
    gateway: str | None = None
    host_routes: list[_HostRoute] | None = None


class _PlugNetwork(msgspec.Struct):
    """Body of POST plug/network (octavia's rest_api_driver.py, post_network_plug)."""

    mac_address: str
    fixed_ips: list[_FixedIp] | None = None
    mtu: int | None = None
    is_sriov: bool | None = False
    vip_net_info: _VipNetInfo | None = None


class _InterfaceAddress(msgspec.Struct):
    address: str
    prefixlen: int
    octavia_owned: bool


class _InterfaceRoute(msgspec.Struct):
    dst: str
    table: int
    gateway: str | None = None
    prefsrc: str | None = None


class _InterfaceRule(msgspec.Struct):
    src: str
    src_len: int
    table: int


class _InterfaceFile(msgspec.Struct):
    """What `render.interface_json` writes, less what was plugged."""

    name: str
    if_type: InterfaceType
    mac: str
    mtu: int | None
    is_sriov: bool
    automatic: bool
    addresses: list[_InterfaceAddress]
    routes: list[_InterfaceRoute]
    rules: list[_InterfaceRule]


class _FirewallRule(msgspec.Struct, forbid_unknown_fields=True):
    """One entry of PUT interface/{ip}/rules."""

    protocol: RuleProtocol
    cidr: str | None
    port: _Port


def plug_vip(vip: str, body: bytes) -> VipPlug:
    """Read the request to plug a VIP.

    Args:
        vip: the address in the request's path.

    Raises:
        MalformedRequest: the body is not the JSON object it should be.
        InvalidRequest: an address, subnet, MAC or MTU cannot be right.
    """
    raw = _decode(body, _PlugVip, "Invalid subnet information")
    return _vip_plug(vip, raw)


def plug_network(body: bytes) -> NetworkPlug:
    """Read the request to plug a NIC that leads to members.

    Raises:
        MalformedRequest: the body is not the JSON object it should be.
        InvalidRequest: an address, subnet, MAC or MTU cannot be right.
    """
    raw = _decode(body, _PlugNetwork, "Invalid port information")
    info = raw.vip_net_info
    mac = _mac(raw.mac_address)
    vip = None if info is None else _vip_plug(info.vip, info)
    if vip is not None and vip.mac != mac:
        raise InvalidRequest(
            "Invalid network port", f"vip_net_info.mac_address: {vip.mac} is not {mac}"
        )
    fixed_ips = None
    if raw.fixed_ips is not None:
        fixed_ips = tuple(_fixed_ip(index, entry) for index, entry in enumerate(raw.fixed_ips))
    return NetworkPlug(
        mac=mac,
        fixed_ips=fixed_ips,
        mtu=_mtu(raw.mtu, [entry.interface.ip for entry in fixed_ips or ()]),
        is_sriov=bool(raw.is_sriov),
        vip=vip,
    )


def interface_plug(text: bytes) -> NetworkPlug:
    """What was plugged on a NIC, out of its interface file.

    Raises:
        InvalidRequest: the file does not say.
    """
    document = _decode(text, dict[str, msgspec.Raw], "Invalid interface file")
    return plug_network(bytes(document.get("plug", b"null")))


def interface_file(text: bytes) -> Interface:
    """The desired state of an interface, out of its file.

    Raises:
        InvalidRequest: the file is broken.
    """
    problem = "Invalid interface file"
    raw = _decode(text, _InterfaceFile, problem)
    try:
        return Interface(
            name=raw.name,
            type=raw.if_type,
            mac=_mac(raw.mac),
            mtu=raw.mtu,
            addresses=tuple(
                Address(
                    interface=ip_interface(f"{entry.address}/{entry.prefixlen}"),
                    owned=entry.octavia_owned,
                )
                for entry in raw.addresses
            ),
            routes=tuple(
                Route(
                    destination=ip_network(entry.dst),
                    gateway=None if entry.gateway is None else ip_address(entry.gateway),
                    source=None if entry.prefsrc is None else ip_address(entry.prefsrc),
                    table=entry.table,
                )
                for entry in raw.routes
            ),
            rules=tuple(
                Rule(source=ip_network(f"{entry.src}/{entry.src_len}"), table=entry.table)
                for entry in raw.rules
            ),
            is_sriov=raw.is_sriov,
            automatic=raw.automatic,
        )
    except ValueError as exc:
        raise InvalidRequest(problem, str(exc)) from exc


def firewall_rules(body: bytes) -> tuple[FirewallRule, ...]:
    """Read what may come in through the VIP's NIC.

    Raises:
        MalformedRequest: the body is not the JSON array it should be.
    """
    problem = "Invalid rules information"
    raw = _decode(body, list[_FirewallRule], problem)
    try:
        return tuple(
            FirewallRule(
                protocol=rule.protocol,
                # The API of the controller takes networks with host bits.
                cidr=None if rule.cidr is None else ip_network(rule.cidr, strict=False),
                port=rule.port,
            )
            for rule in raw
        )
    except ValueError as exc:
        raise MalformedRequest(problem, str(exc)) from exc


def utf8(content: bytes, name: str) -> str:
    """A configuration file as text.

    Raises:
        InvalidRequest: it is not UTF-8, or holds a NUL.
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise InvalidRequest("Invalid request", f"{name} is not UTF-8: {exc}") from exc
    if "\0" in text:
        raise InvalidRequest("Invalid request", f"{name} holds a NUL at {text.index(chr(0))}")
    return text


def ip(text: str) -> IPAddress:
    """Read an address in a request's path.

    Raises:
        InvalidRequest: it is none.
    """
    try:
        return ip_address(text)
    except ValueError as exc:
        raise InvalidRequest("Invalid IP address", str(exc)) from exc


def _decode(body: bytes, kind: type[T], problem: str) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    # Bytes that are no text, and nesting without end, are told by errors of their own.
    except (msgspec.MsgspecError, ValueError, RecursionError) as exc:
        raise MalformedRequest(problem, str(exc)) from exc


def _vip_plug(vip: str, raw: _PlugVip) -> VipPlug:
    primary = _vip("", vip, raw.subnet_cidr, raw.gateway, raw.host_routes)
    additional = tuple(
        _vip(
            f"additional_vips[{index}].",
            entry.ip_address,
            entry.subnet_cidr,
            entry.gateway,
            entry.host_routes,
        )
        for index, entry in enumerate(raw.additional_vips or ())
    )
    return VipPlug(
        vips=(primary, *additional),
        mac=_mac(raw.mac_address),
        mtu=_mtu(raw.mtu, [primary.address, *(entry.address for entry in additional)]),
        vrrp_ip=_vrrp_ip(raw.vrrp_ip, primary),
        is_sriov=bool(raw.is_sriov),
    )


def _mac(text: str) -> str:
    mac = text.lower()
    if not _MAC.fullmatch(mac):
        raise InvalidRequest(
            "Invalid MAC address", f"mac_address: {text!r} is not six pairs of digits"
        )
    return mac


def _mtu(number: int | None, addresses: Iterable[IPAddress]) -> int | None:
    ipv6 = next((address for address in addresses if address.version == 6), None)
    if number and ipv6 and number < _IPV6_MTU_MIN:
        raise InvalidRequest(
            "Invalid MTU", f"mtu: {number} is below {_IPV6_MTU_MIN}, which IPv6 needs for {ipv6}"
        )
    if number and not _MTU_MIN <= number <= _MTU_MAX:
        raise InvalidRequest("Invalid MTU", f"mtu: {number} is not from {_MTU_MIN} to {_MTU_MAX}")
    return number or None


def _fixed_ip(index: int, raw: _FixedIp) -> FixedIp:
    where = f"fixed_ips[{index}]"
    problem = "Invalid network port"
    try:
        address = ip_address(raw.ip_address)
        subnet = ip_network(raw.subnet_cidr)
    except ValueError as exc:
        raise InvalidRequest(problem, f"{where}: {exc}") from exc
    if address not in subnet:
        raise InvalidRequest(problem, f"{where}.subnet_cidr: {subnet} lacks {address}")
    return FixedIp(
        interface=ip_interface(f"{address}/{subnet.prefixlen}"),
        gateway=_gateway(f"{where}.", raw.gateway, address, problem),
        host_routes=_host_routes(f"{where}.", raw.host_routes, address, problem),
    )


def _vip(
    where: str,
    address: str,
    subnet_cidr: str,
    gateway: str | None,
    host_routes: list[_HostRoute] | None,
) -> Vip:
    try:
        vip = ip_address(address)
    except ValueError as exc:
        raise InvalidRequest(f"Invalid VIP: {address}", f"{where}ip_address: {exc}") from exc
    try:
        subnet = ip_network(subnet_cidr)
    except ValueError as exc:
        raise InvalidRequest(f"Invalid VIP: {vip}", f"{where}subnet_cidr: {exc}") from exc
    if vip not in subnet:
        raise InvalidRequest(f"Invalid VIP: {vip}", f"{where}subnet_cidr: {subnet} lacks it")
    problem = f"Invalid VIP: {vip}"
    return Vip(
        address=vip,
        subnet=subnet,
        gateway=_gateway(where, gateway, vip, problem),
        host_routes=_host_routes(where, host_routes, vip, problem),
    )


def _gateway(where: str, gateway: str | None, own: IPAddress, problem: str) -> IPAddress | None:
    if not gateway:
        return None
    try:
        address = ip_address(gateway)
    except ValueError as exc:
        raise InvalidRequest(problem, f"{where}gateway: {exc}") from exc
    if address.version != own.version:
        raise InvalidRequest(problem, f"{where}gateway: {address} is of the other IP version")
    return address


def _host_routes(
    where: str, routes: list[_HostRoute] | None, own: IPAddress, problem: str
) -> tuple[HostRoute, ...]:
    result = []
    for index, route in enumerate(routes or ()):
        place = f"{where}host_routes[{index}]"
        try:
            destination: IPNetwork = ip_network(route.destination)
            nexthop = ip_address(route.nexthop)
        except ValueError as exc:
            raise InvalidRequest(problem, f"{place}: {exc}") from exc
        if not destination.version == nexthop.version == own.version:
            raise InvalidRequest(problem, f"{place}: IP versions differ")
        result.append(HostRoute(destination=destination, nexthop=nexthop))
    return tuple(result)


def _vrrp_ip(text: str | None, primary: Vip) -> IPAddress | None:
    if not text:
        return None
    try:
        address = ip_address(text)
    except ValueError as exc:
        raise InvalidRequest(f"Invalid VRRP Address: {text}", f"vrrp_ip: {exc}") from exc
    if address not in primary.subnet:
        raise InvalidRequest(
            f"Invalid VRRP Address: {address}", f"vrrp_ip: {primary.subnet} lacks it"
        )
    return address
