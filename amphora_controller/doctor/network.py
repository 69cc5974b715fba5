# SPDX-License-Identifier: Apache-2.0
"""This controller's foot in the management network, and the way from it to an amphora."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Interface, IPv6Interface

from amphora_controller.doctor.findings import Note, failed, ok
from amphora_controller.doctor.options import Address

INTERFACE = "o-hm0"


@dataclass(frozen=True, kw_only=True, slots=True)
class Link:
    """A network interface.

    Attributes:
        is_up: it was brought up.
        has_carrier: and its other end is up too.
        mac: in lower case, with colons.
        unusable: addresses that duplicate address detection refused or still looks at.
    """

    name: str
    is_up: bool
    has_carrier: bool
    mac: str
    mtu_bytes: int
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    unusable: tuple[IPv4Interface | IPv6Interface, ...] = ()

    def has(self, address: Address) -> bool:
        """Whether an address is one of its own."""
        return any(own.ip == address for own in self.addresses)


@dataclass(frozen=True, kw_only=True, slots=True)
class Route:
    """Where the kernel would send a packet.

    Attributes:
        source: the address that it would come from; None if the kernel does not say.
        gateway: None on a link that both are on.
    """

    interface: str
    source: Address | None
    gateway: Address | None


def link_of(links: Sequence[Link], name: str) -> Link | None:
    """The link of a name."""
    return next((link for link in links if link.name == name), None)


def chosen(links: Sequence[Link], wanted: str, bind: Address) -> str:
    """The name of the interface on the management network.

    Args:
        wanted: by the operator; if empty, it is o-hm0 or, where there is none, what has bind_ip.
    """
    if wanted:
        return wanted
    holder = next((link.name for link in links if link.has(bind)), INTERFACE)
    return holder if link_of(links, INTERFACE) is None else INTERFACE


def interface(links: Sequence[Link], name: str, bind: Address) -> Iterator[Note]:
    """Whether the interface is up and has the address that the health manager listens at."""
    link = link_of(links, name)
    holders = [other.name for other in links if other.has(bind)]
    if link is None:
        yield failed(
            f"there is no interface {name}",
            f"make the port of the health manager and plug it in as {name}; --interface NAME if it "
            "has another name here",
        )
        return
    if not link.is_up:
        yield failed(f"{name} is down", f"ip link set {name} up, and see why it is not at boot")
        return
    if not link.has_carrier:
        yield failed(
            f"{name} has no carrier",
            "its other end, in the bridge or in Open vSwitch, is down or gone",
        )
        return
    if not link.addresses:
        pending = ", ".join(str(address) for address in link.unusable)
        yield failed(
            f"{name} has no address"
            + (f" that can be used ({pending}: duplicate?)" * bool(pending)),
            f"ip address add {bind}/PREFIX dev {name}: the address of its Neutron port",
        )
        return
    shown = ", ".join(str(address) for address in link.addresses)
    if not bind.is_unspecified and not link.has(bind):
        where = f"; {holders[0]} has it" if holders else ""
        yield failed(
            f"{name} has {shown}, not bind_ip {bind}{where}",
            "bind_ip, the address of the interface and the Neutron port's must be one",
        )
        return
    yield ok(f"{name} is up with {shown}, MAC {link.mac}, MTU {link.mtu_bytes}")


def route(found: Route | None, amphora: Address, link: Link) -> Iterator[Note]:
    """Whether packets to an amphora leave by the interface."""
    if found is None:
        yield failed(
            f"there is no route to {amphora}",
            f"is {', '.join(map(str, link.addresses))} of {link.name} the network of amphorae?",
        )
    elif found.interface != link.name:
        yield failed(
            f"packets to {amphora} leave by {found.interface}, not by {link.name}",
            "another interface has the same network, or the prefix is wrong: ip route get "
            f"{amphora}",
        )
    elif found.gateway is not None:
        yield ok(f"by {link.name} and the gateway {found.gateway}")
    elif found.source is not None and not link.has(found.source):
        yield failed(
            f"packets to {amphora} leave by {link.name}, but come from {found.source}",
            "a route has `src` set to an address of another interface",
        )
    else:
        yield ok(f"{amphora} is on {link.name}'s own network")
