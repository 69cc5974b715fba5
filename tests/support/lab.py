# SPDX-License-Identifier: Apache-2.0
"""The networks that an amphora is attached to, and everybody else on them.

On `mgmt`: controller, health manager and ssh. On `vip`: clients and members (back ends). On
`member`: members alone. Each is a bridge whose only other port is the tap of the amphora's NIC.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from tests.support.netns import Namespace, namespace

MGMT_BRIDGE = "mgmt"
MGMT_TAP = "tap-mgmt"
VIP_BRIDGE = "vip"
VIP_TAP = "tap-vip"
MEMBER_BRIDGE = "member"
MEMBER_TAP = "tap-member"

# The networks that RFC 5737 keeps for documentation.
MGMT = IPv4Network("192.0.2.0/24")
VIP = IPv4Network("198.51.100.0/24")
MEMBERS = IPv4Network("203.0.113.0/24")
# Below 1500, as on an overlay network, so that it has to be conveyed to the guest.
MTU = 1450


@dataclass(frozen=True, kw_only=True, slots=True)
class Lab:
    """A namespace with the management, the VIP and a member network."""

    namespace: Namespace

    @property
    def controller(self) -> IPv4Address:
        """The controller's own address on the management network."""
        return MGMT[1]

    @property
    def gateway(self) -> IPv4Address:
        """Router of the VIP network; clients call from this address."""
        return VIP[1]

    def add_member_address(self, host: int) -> IPv4Address:
        """Give the VIP bridge one more address, on which a member can listen."""
        address = IPv4Interface(f"{VIP[host]}/{VIP.prefixlen}")
        self.namespace.add_address(VIP_BRIDGE, address)
        return address.ip

    @contextmanager
    def member_address(self, host: int) -> Iterator[IPv4Address]:
        """The same for a while: several stories share the networks."""
        address = self.add_member_address(host)
        try:
            yield address
        finally:
            whole = f"{address}/{VIP.prefixlen}"
            self.namespace.ip("address", "del", whole, "dev", VIP_BRIDGE)


@contextmanager
def lab() -> Iterator[Lab]:
    """Build the networks with a tap each, and remove them."""
    with namespace("lab") as inside:
        built = Lab(namespace=inside)
        inside.add_bridge(MGMT_BRIDGE, IPv4Interface(f"{built.controller}/{MGMT.prefixlen}"))
        inside.add_tap(MGMT_TAP, bridge=MGMT_BRIDGE)
        inside.add_bridge(VIP_BRIDGE, IPv4Interface(f"{built.gateway}/{VIP.prefixlen}"))
        inside.add_tap(VIP_TAP, bridge=VIP_BRIDGE)
        inside.add_bridge(MEMBER_BRIDGE, IPv4Interface(f"{MEMBERS[1]}/{MEMBERS.prefixlen}"))
        inside.add_tap(MEMBER_TAP, bridge=MEMBER_BRIDGE)
        yield built
