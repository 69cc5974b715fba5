# SPDX-License-Identifier: Apache-2.0
"""Frames that tell the neighbours where an address is, against bytes that were made by hand."""

from ipaddress import IPv4Address, IPv6Address

import pytest

from amphora_agent import announce

MAC = bytes.fromhex("020000000001")
ARP = bytes.fromhex(
    "ffffffffffff 020000000001 0806"  # to all, from the NIC, ARP
    "0001 0800 06 04 0001"  # Ethernet, IPv4, lengths of the addresses, request
    "020000000001 c6336409"  # sender: 198.51.100.9 is at the NIC
    "000000000000 c6336409"  # target: the same address
)
# The sum of the checksum, in words: addresses 2dc2 + ff03, length and next header 20 + 3a, type
# 8800, flags a000, target 2dc2, option 0201 + 0200 + 0001, which makes 286e3, folded 86e5.
ADVERTISEMENT = bytes.fromhex(
    "333300000001 020000000001 86dd"  # to the group ff02::1, from the NIC, IPv6
    "60000000 0020 3a ff"  # 32 bytes of ICMPv6, hop limit 255
    "20010db8000000000000000000000009"  # from 2001:db8::9
    "ff020000000000000000000000000001"  # to ff02::1
    "88 00 791a a0000000"  # advertisement, checksum, router and override
    "20010db8000000000000000000000009"  # target
    "02 01 020000000001"  # option: the target's link-layer address
)


def test_gratuitous_arp_is_a_request_of_the_address_for_itself() -> None:
    """Every byte of the ARP announcement is as RFC 826 and RFC 5227 have it."""
    assert announce.gratuitous_arp(MAC, IPv4Address("198.51.100.9")) == ARP


def test_unsolicited_advertisement_overrides() -> None:
    """Every byte of the neighbour advertisement is as RFC 4861 has it, with its checksum."""
    assert announce.unsolicited_advertisement(MAC, IPv6Address("2001:db8::9")) == ADVERTISEMENT


def test_frame_is_that_of_the_ip_version() -> None:
    """IPv4 is announced by ARP, IPv6 by an advertisement."""
    assert announce.frame(MAC, IPv4Address("198.51.100.9")) == ARP
    assert announce.frame(MAC, IPv6Address("2001:db8::9")) == ADVERTISEMENT


@pytest.mark.parametrize(
    ("data", "checksum"),
    [
        # The example of RFC 1071, 3.
        ("0001f203f4f5f6f7", 0xFFFF - 0xDDF2),
        ("ffff", 0),
        ("", 0xFFFF),
        ("ffff" * 40000, 0),
    ],
)
def test_internet_checksum(data: str, checksum: int) -> None:
    """Carries are added again until there are none."""
    assert announce.internet_checksum(bytes.fromhex(data)) == checksum
