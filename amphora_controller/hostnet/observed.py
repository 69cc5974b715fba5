# SPDX-License-Identifier: Apache-2.0
"""What a host has, and how it differs from what is wanted. Pure."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_interface

import msgspec

from amphora_controller.errors import ControllerError
from amphora_controller.hostnet.interface import Address, HostInterface, external_ids
from amphora_controller.site_host import Plug


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """An interface as the kernel has it.

    Attributes:
        mtu: bytes.
        master: name of the bridge that it is a port of.
        peer: name of a veth's other end, if that is on the same host.
        addresses: without link-local ones.
    """

    name: str
    mac: str
    mtu: int
    is_up: bool
    master: str | None
    peer: str | None
    addresses: tuple[Address, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class OvsPort:
    """An interface as Open vSwitch's database has it."""

    bridge: str
    external_ids: Mapping[str, str]


class _AddressRow(msgspec.Struct, frozen=True):
    """`addr_info` of `ip -json address`."""

    local: str
    prefixlen: int
    scope: str


class _LinkRow(msgspec.Struct, frozen=True):
    """One interface of `ip -json address`."""

    ifname: str
    flags: tuple[str, ...]
    mtu: int
    address: str = ""
    master: str | None = None
    link: str | None = None
    addr_info: tuple[_AddressRow, ...] = ()


class _Table(msgspec.Struct, frozen=True):
    """What `ovs-vsctl --format=json --columns=external_ids list` prints."""

    data: tuple[tuple[tuple[str, tuple[tuple[str, str], ...]]], ...]


def links(text: str) -> dict[str, Link]:
    """Every interface by its name, from what `ip -json address show` prints.

    Raises:
        ControllerError: the text is something else.
    """
    try:
        rows = msgspec.json.decode(text, type=tuple[_LinkRow, ...])
    except msgspec.DecodeError as exc:
        raise ControllerError("ip printed what is no list of interfaces", str(exc)) from exc
    return {row.ifname: _link(row) for row in rows}


def ovs_external_ids(text: str) -> dict[str, str] | None:
    """`external_ids` of one interface; None when there is no such interface.

    Args:
        text: what `ovs-vsctl --format=json --if-exists --columns=external_ids list` prints.

    Raises:
        ControllerError: the text is something else.
    """
    try:
        rows = msgspec.convert(json.loads(text), type=_Table).data
    except (ValueError, msgspec.ValidationError) as exc:
        raise ControllerError("ovs-vsctl printed what is no table of interfaces", str(exc)) from exc
    return dict(rows[0][0][1]) if rows else None


def differences(
    wanted: HostInterface, found: Mapping[str, Link], ovs_port: OvsPort | None
) -> Iterator[str]:
    """What is not as wanted, a line each; addresses too many are told by `surplus`."""
    link = found.get(wanted.name)
    if link is None:
        yield f"there is no interface {wanted.name}"
        return
    if link.mac != wanted.mac:
        yield f"MAC {link.mac}, not {wanted.mac}"
    if link.mtu != wanted.mtu:
        yield f"MTU {link.mtu}, not {wanted.mtu}"
    if not link.is_up:
        yield "down"
    if wanted.address not in link.addresses:
        yield f"without {wanted.address}"
    if wanted.plug is Plug.LINUXBRIDGE:
        tap = found.get(wanted.tap)
        if tap is None or tap.master != wanted.bridge:
            yield f"{wanted.tap} is no port of {wanted.bridge}"
        return
    if ovs_port is None:
        yield f"no port of {wanted.bridge}"
        return
    for key, value in external_ids(wanted).items():
        if ovs_port.external_ids.get(key) != value:
            yield f"external_ids:{key} is {ovs_port.external_ids.get(key)}, not {value}"


def surplus(wanted: HostInterface, found: Mapping[str, Link]) -> tuple[Address, ...]:
    """Addresses of the interface beside the one that is wanted."""
    link = found.get(wanted.name)
    return tuple(each for each in link.addresses if each != wanted.address) if link else ()


def is_of_port(wanted: HostInterface, found: Mapping[str, Link], ovs_port: OvsPort | None) -> bool:
    """Whether the interface stands for the wanted Neutron port, whoever made it."""
    if wanted.plug is Plug.LINUXBRIDGE:
        return wanted.name in found and found[wanted.name].peer == wanted.tap
    return ovs_port is not None and ovs_port.external_ids.get("iface-id") == wanted.port_id


def refuse_overlap(name: str, address: Address, found: Mapping[str, Link]) -> None:
    """See that no other interface has an address of the same network.

    Raises:
        ControllerError: one has; two routes to one network would be in each other's way.
    """
    for link in found.values():
        for other in link.addresses:
            if (
                link.name != name
                and other.version == address.version
                and other.network.overlaps(address.network)
            ):
                raise ControllerError(
                    f"{link.name} has {other} already, which is in the way of {address} on {name}",
                    "give the management network addresses that this host does not use elsewhere",
                )


def _link(row: _LinkRow) -> Link:
    return Link(
        name=row.ifname,
        mac=row.address,
        mtu=row.mtu,
        is_up="UP" in row.flags,
        master=row.master,
        peer=row.link,
        addresses=tuple(
            ip_interface(f"{each.local}/{each.prefixlen}")
            for each in row.addr_info
            if each.scope == "global"
        ),
    )
