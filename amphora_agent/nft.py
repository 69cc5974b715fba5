# SPDX-License-Identifier: Apache-2.0
"""Parts of rule sets for nftables; the sets themselves are templates.

Nothing that came in as text goes out again: every value is an enumerated one, a number, an address
or an interface name that was checked.
"""

import re
from enum import StrEnum

from amphora_agent.errors import InvalidRequest
from amphora_agent.models import FirewallRule, Interface, IPNetwork, RuleProtocol

# IP version -> family of nftables -> what Octavia's operators know as the table.
FAMILIES = {4: ("ip", "octavia-ipv4"), 6: ("ip6", "octavia-ipv6")}

# Number of the IP protocol (IANA); VRRP has no ports.
_VRRP = 112
# A kernel's name of an interface, without the marks that mean something to nftables.
_INTERFACE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,14}")


class Change(StrEnum):
    """What is done with an interface."""

    ADD = "add"
    DELETE = "delete"


def accepted(rule: FirewallRule) -> str:
    """A statement that accepts what a rule lets in.

    VRRP is matched by `meta l4proto`, which serves both IP versions.
    """
    if rule.protocol is RuleProtocol.VRRP:
        what = f"meta l4proto {_VRRP}"
    else:
        what = f"{rule.protocol.lower()} dport {rule.port}"
    return f"{_source(rule.cidr)}{what} accept"


def _source(cidr: IPNetwork | None) -> str:
    if cidr is None:
        return ""
    # The whole of one IP version; a prefix of length 0 is no match that nftables keeps.
    if cidr.prefixlen == 0:
        return f"meta nfproto ipv{cidr.version} "
    return f"{FAMILIES[cidr.version][0]} saddr {cidr} "


def interface_name(name: str) -> str:
    """A name that may stand in a rule set.

    Raises:
        InvalidRequest: no interface can be called so.
    """
    if not _INTERFACE_NAME.fullmatch(name):
        raise InvalidRequest(
            "Invalid interface name",
            f"{name!r} is not 1 to 15 letters, digits, dots, dashes and underscores",
        )
    return name


def ip_versions(interface: Interface) -> frozenset[int]:
    """The IP versions that an interface speaks: those of its addresses, or both."""
    if interface.automatic:
        return frozenset(FAMILIES)
    return frozenset(address.interface.version for address in interface.addresses)
