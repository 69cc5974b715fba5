# SPDX-License-Identifier: Apache-2.0
"""network_data.json: NICs, and how each comes by its addresses.

Source of the format: the JSON schema in Nova's documentation.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import ip_address, ip_interface, ip_network

from amphora_agent.configdrive.entries import as_object, entries, good, json_object, shown, text
from amphora_agent.errors import ParseError
from amphora_agent.models import IPAddress, IPInterface, IPNetwork, Route

NETWORK_DATA = "openstack/latest/network_data.json"

_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")

# Bytes. The least that IPv4 allows, and the most that its header can say.
_MTU = range(68, 65536)


class Method(StrEnum):
    """How a NIC comes by an address."""

    STATIC = "static"
    DHCP4 = "dhcp4"
    DHCP6 = "dhcp6"
    SLAAC = "slaac"


# Nova's type of a network -> IP version, method. `static` and `static6` are what other makers of
# config drives write. A stateless DHCPv6 server has no addresses to give, only names of other
# servers, so that router advertisements are all that such a network needs.
_NETWORK_TYPES = {
    "ipv4": (4, Method.STATIC),
    "static": (4, Method.STATIC),
    "ipv4_dhcp": (4, Method.DHCP4),
    "ipv6": (6, Method.STATIC),
    "static6": (6, Method.STATIC),
    "ipv6_slaac": (6, Method.SLAAC),
    "ipv6_dhcpv6-stateless": (6, Method.SLAAC),
    "ipv6_dhcpv6-stateful": (6, Method.DHCP6),
    "ipv6_dhcp": (6, Method.DHCP6),
}


# Every other type (phy, vif, ovs, bridge, tap, ...) says how the host plugs the NIC; inside the
# virtual machine they are all the same.
_UNSUPPORTED_LINKS = ("bond", "vlan")


@dataclass(frozen=True, kw_only=True, slots=True)
class NicNetwork:
    """One network of a NIC.

    Attributes:
        address: with STATIC only.
        routes: without a gateway the destination is on the link.
        dns: servers of names.
    """

    method: Method
    address: IPInterface | None = None
    routes: tuple[Route, ...] = ()
    dns: tuple[IPAddress, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Nic:
    """A NIC with at least one network.

    Attributes:
        mac: lower case with colons.
        mtu: bytes; None when the cloud does not say.
    """

    mac: str
    mtu: int | None
    networks: tuple[NicNetwork, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class NetworkData:
    """What network_data.json says.

    Attributes:
        nics: in the order of the document; Octavia has the management port made first.
        dns: servers of names that belong to no network.
        problems: entries that were left out, and why.
    """

    nics: tuple[Nic, ...] = ()
    dns: tuple[IPAddress, ...] = ()
    problems: tuple[str, ...] = ()


def network_data(data: bytes) -> NetworkData:
    """Read network_data.json.

    Raises:
        ParseError: it is not a JSON object.
    """
    document = json_object(data)
    problems: list[str] = []
    links = _links(document, problems)
    networks: dict[str, list[NicNetwork]] = {link.link_id: [] for link in links}
    skipped = _unsupported_ids(document)

    def network(entry: object) -> None:
        fields = as_object(entry)
        link_id = text(fields, "link")
        if link_id in skipped:
            return
        if link_id not in networks:
            raise ParseError(f"its link {shown(link_id)} is not among the usable links")
        networks[link_id].append(_network(fields, problems))

    for _ in good("networks", entries(document, "networks", problems), network, problems):
        pass
    services = entries(document, "services", problems)
    nics = tuple(
        Nic(mac=link.mac, mtu=link.mtu, networks=tuple(networks[link.link_id]))
        for link in links
        if networks[link.link_id]
    )
    return NetworkData(
        nics=nics, dns=_dns("services", services, problems), problems=tuple(problems)
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Link:
    link_id: str
    mac: str
    mtu: int | None


def _links(document: Mapping[str, object], problems: list[str]) -> list[_Link]:
    """The usable links, with unique ids and addresses."""
    links: dict[str, _Link] = {}
    macs: set[str] = set()
    listed = entries(document, "links", problems)
    for link in good("links", listed, lambda entry: _link(entry, problems), problems):
        if link.link_id in links or link.mac in macs:
            problems.append(f"links: {link.link_id!r:.60} ({link.mac}) is there twice")
            continue
        links[link.link_id] = link
        macs.add(link.mac)
    return list(links.values())


def _link(entry: object, problems: list[str]) -> _Link:
    fields = as_object(entry)
    link_id = text(fields, "id")
    if fields.get("type") in _UNSUPPORTED_LINKS:
        raise ParseError(
            f"link {shown(link_id)} is a {fields['type']}",
            "bonds and VLANs are not supported inside an amphora; give it a plain port",
        )
    mac = text(fields, "ethernet_mac_address").lower()
    if not _MAC.fullmatch(mac):
        raise ParseError(f"ethernet_mac_address {shown(mac)} is not like fa:16:3e:00:00:01")
    mtu = fields.get("mtu")
    if mtu is not None and (type(mtu) is not int or mtu not in _MTU):
        problems.append(
            f"links: mtu {shown(mtu)} of {shown(link_id)} is not a number of bytes from"
            f" {_MTU.start} to {_MTU.stop - 1}; the NIC keeps its own"
        )
        mtu = None
    return _Link(link_id=link_id, mac=mac, mtu=mtu if isinstance(mtu, int) else None)


def _unsupported_ids(document: Mapping[str, object]) -> set[object]:
    """Ids of links that have been told of already, so that their networks need not be."""
    links = (entry for entry in entries(document, "links", []) if isinstance(entry, dict))
    ids = (link.get("id") for link in links if link.get("type") in _UNSUPPORTED_LINKS)
    return {link_id for link_id in ids if isinstance(link_id, str)}


def _network(fields: Mapping[str, object], problems: list[str]) -> NicNetwork:
    kind = text(fields, "type")
    if kind not in _NETWORK_TYPES:
        raise ParseError(f"type {shown(kind)} is unknown", f"known: {', '.join(_NETWORK_TYPES)}")
    version, method = _NETWORK_TYPES[kind]
    where = f"network {shown(fields.get('id'))}"
    routes = entries(fields, "routes", problems)
    services = entries(fields, "services", problems)
    return NicNetwork(
        method=method,
        address=_address(fields, version) if method is Method.STATIC else None,
        routes=tuple(good(f"{where} routes", routes, lambda r: _route(r, version), problems)),
        dns=_dns(f"{where} services", services, problems),
    )


def _address(fields: Mapping[str, object], version: int) -> IPInterface:
    address, _, prefix = text(fields, "ip_address").partition("/")
    host = _ip(address, version, "ip_address")
    if host.is_unspecified or host.is_multicast:
        raise ParseError(f"ip_address {address} cannot be the address of a host")
    bits = _prefix(prefix or fields.get("netmask"), version)
    return ip_interface((host, bits))


def _route(entry: object, version: int) -> Route:
    fields = as_object(entry)
    network, _, prefix = text(fields, "network").partition("/")
    base = _ip(network, version, "network")
    bits = _prefix(prefix or fields.get("netmask"), version)
    gateway = _ip(fields["gateway"], version, "gateway") if fields.get("gateway") else None
    if gateway is not None and gateway.is_unspecified:
        gateway = None  # Neutron's way of saying that the destination is on the link
    destination: IPNetwork = ip_network((base, bits), strict=False)
    return Route(destination=destination, gateway=gateway)


def _dns(where: str, services: list[object], problems: list[str]) -> tuple[IPAddress, ...]:
    servers = [
        service
        for service in services
        if not isinstance(service, dict) or service.get("type") == "dns"
    ]
    return tuple(good(where, servers, lambda s: _any_ip(as_object(s).get("address")), problems))


def _any_ip(value: object) -> IPAddress:
    # A scope (fe80::1%eth0) may hold any character, line feeds too, and names interfaces that a
    # cloud cannot know.
    if not isinstance(value, str) or "%" in value:
        raise ParseError(f"{shown(value)} is not an IP address")
    try:
        return ip_address(value)
    except ValueError as exc:
        raise ParseError(f"{shown(value)} is not an IP address") from exc


def _ip(value: object, version: int, key: str) -> IPAddress:
    try:
        address = _any_ip(value)
    except ParseError as exc:
        raise ParseError(f"{key} {exc}") from exc
    if address.version != version:
        raise ParseError(f"{key} {address} is not an IPv{version} address")
    return address


def _prefix(value: object, version: int) -> int:
    """Bits of a netmask, given as a number or in the form of an address."""
    most = 32 if version == 4 else 128
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,3}", value):
        value = int(value)
    if type(value) is int and 0 <= value <= most:
        return value
    if not isinstance(value, str):
        raise ParseError(f"netmask {shown(value)} is neither a mask nor 0 to {most} bits")
    inverse = int(_ip(value, version, "netmask")) ^ ((1 << most) - 1)
    if inverse & (inverse + 1):
        raise ParseError(f"netmask {shown(value)} has a gap in its bits")
    return most - inverse.bit_length()
