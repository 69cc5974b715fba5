# SPDX-License-Identifier: Apache-2.0
"""Rules of security groups: what they let through. What no rule lets through is dropped."""

from collections.abc import Sequence, Set
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network

from amphora_controller.doctor.options import Address

Peer = Address | IPv4Network | IPv6Network

# Protocols may be given by their numbers.
_NUMBERS = {"tcp": "6", "udp": "17"}
_ANY = (None, "", "any", "0")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """A rule, as Neutron has it; None where it does not say.

    Attributes:
        direction: ingress or egress.
        ethertype: IPv4 or IPv6.
        protocol: a name or a number.
        ports: first and last.
        prefix: of the other side.
        group: whose members may be the other side.
        address_group: the same for a list of addresses, which is not looked into.
    """

    direction: str
    ethertype: str
    protocol: str | None
    ports: tuple[int | None, int | None]
    prefix: str | None
    group: str | None
    address_group: str | None


def lets(
    rules: Sequence[Rule],
    *,
    direction: str,
    protocol: str,
    port: int,
    peer: Peer,
    peer_groups: Set[str] | None,
) -> bool:
    """Whether any rule lets packets of new connections through.

    Args:
        peer: the other side; of a network every address must be let through by one rule.
        peer_groups: security groups of the other side; None if they are not known.
    """
    return any(
        rule.direction == direction
        and rule.ethertype == f"IPv{peer.version}"
        and (rule.protocol in _ANY or rule.protocol in (protocol, _NUMBERS[protocol]))
        and _has_port(rule, port)
        and _is_of(rule, peer, peer_groups)
        for rule in rules
    )


def _has_port(rule: Rule, port: int) -> bool:
    first, last = rule.ports
    return (first is None or first <= port) and (last is None or port <= last)


def _is_of(rule: Rule, peer: Peer, peer_groups: Set[str] | None) -> bool:
    """Whether the other side is one that a rule is for; yes where that is not known."""
    if rule.address_group is not None:
        return True
    if rule.group is not None:
        return peer_groups is None or rule.group in peer_groups
    if rule.prefix is None:
        return True
    prefix = ip_network(rule.prefix, strict=False)
    if isinstance(peer, IPv4Network | IPv6Network):
        return peer.network_address in prefix and peer.broadcast_address in prefix
    return peer in prefix
