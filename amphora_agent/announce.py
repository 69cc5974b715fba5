# SPDX-License-Identifier: Apache-2.0
"""Ethernet frames that tell the neighbours where an address is now."""

import struct
from ipaddress import IPv4Address, IPv6Address

from amphora_agent.models import IPAddress

_BROADCAST = b"\xff" * 6
_ALL_NODES = IPv6Address("ff02::1")
# RFC 2464, 7: an IPv6 group is this and the last four bytes of its address.
_MULTICAST_PREFIX = b"\x33\x33"

_ETHERTYPE_IPV4 = 0x0800
_ETHERTYPE_ARP = 0x0806
_ETHERTYPE_IPV6 = 0x86DD
_HARDWARE_ETHERNET = 1
_ARP_REQUEST = 1

_NEXT_HEADER_ICMPV6 = 58
# RFC 4861, 7.1.2: receivers drop an advertisement that a router could have forwarded.
_HOP_LIMIT = 255
_NEIGHBOR_ADVERTISEMENT = 136
_FLAGS_ROUTER_OVERRIDE = 0xA000_0000
_OPTION_TARGET_LINK_ADDRESS = 2


def frame(mac: bytes, address: IPAddress) -> bytes:
    """The announcement of an address by the NIC of a MAC address."""
    if isinstance(address, IPv4Address):
        return gratuitous_arp(mac, address)
    return unsolicited_advertisement(mac, address)


def gratuitous_arp(mac: bytes, address: IPv4Address) -> bytes:
    """A request for the address by the one who has it (RFC 5227, 3: an ARP announcement)."""
    arp = struct.pack(
        "!HHBBH6s4s6s4s",
        *(_HARDWARE_ETHERNET, _ETHERTYPE_IPV4, 6, 4, _ARP_REQUEST),
        *(mac, address.packed),
        *(bytes(6), address.packed),
    )
    return _ethernet(_BROADCAST, mac, _ETHERTYPE_ARP) + arp


def unsolicited_advertisement(mac: bytes, address: IPv6Address) -> bytes:
    """A neighbour advertisement to all nodes (RFC 4861, 4.4 and 7.2.6)."""
    head = struct.pack("!BB", _NEIGHBOR_ADVERTISEMENT, 0)
    tail = struct.pack(
        "!I16sBB6s",
        *(_FLAGS_ROUTER_OVERRIDE, address.packed),
        *(_OPTION_TARGET_LINK_ADDRESS, 1, mac),
    )
    length = len(head) + 2 + len(tail)
    ends = address.packed + _ALL_NODES.packed
    pseudo_header = ends + struct.pack("!II", length, _NEXT_HEADER_ICMPV6)
    checksum = struct.pack("!H", internet_checksum(pseudo_header + head + bytes(2) + tail))
    header = struct.pack("!IHBB", 6 << 28, length, _NEXT_HEADER_ICMPV6, _HOP_LIMIT) + ends
    group = _MULTICAST_PREFIX + _ALL_NODES.packed[-4:]
    return _ethernet(group, mac, _ETHERTYPE_IPV6) + header + head + checksum + tail


def internet_checksum(data: bytes) -> int:
    """The checksum of RFC 1071 over an even number of bytes."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total ^ 0xFFFF


def _ethernet(destination: bytes, source: bytes, ethertype: int) -> bytes:
    return destination + source + struct.pack("!H", ethertype)
