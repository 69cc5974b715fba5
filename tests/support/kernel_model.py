# SPDX-License-Identifier: Apache-2.0
"""A model of the part of the kernel that plugs change, for thousands of sequences in seconds.

It behaves as Linux does where that matters to the order of steps: an address that is deleted takes
its secondaries along (`promote_secondaries` is 0), and the routes that name it as their source; a
NIC that changes its namespace comes there bare. Functional tests hold it against the real one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from amphora_agent import plan
from amphora_agent.errors import AgentError, InvalidRequest
from amphora_agent.models import (
    IPAddress,
    IPInterface,
    IPNetwork,
    Link,
    LiveInterface,
    LiveRoute,
    Route,
    Rule,
)


class PowerFailure(BaseException):
    """The machine, or the agent, ends at this moment."""


@dataclass(kw_only=True)
class Nic:
    """A network interface."""

    mac: str
    name: str
    up: bool = False
    mtu: int = 1500
    automatic: bool = False
    addresses: list[IPInterface] = field(default_factory=list)
    routes: dict[tuple[IPNetwork, int], LiveRoute] = field(default_factory=dict)


class KernelModel:
    """Implements amphora_agent.system.network.Network.

    Attributes:
        steps_left: this many changes from now the power fails; None for never.
    """

    def __init__(self) -> None:
        self._outside: dict[str, Nic] = {}
        self._inside: dict[str, Nic] = {}
        self._rules: list[Rule] = []
        self.steps_left: int | None = None

    # --- what a hypervisor, and time, do ---

    def attach(self, mac: str) -> None:
        """Add a NIC; one that is there already stays."""
        if mac not in self._inside:
            self._outside.setdefault(mac, Nic(mac=mac, name=f"ens{mac[-1]}"))

    def detach(self, mac: str) -> None:
        """Take a NIC away."""
        self._outside.pop(mac, None)
        self._inside.pop(mac, None)

    def reboot(self) -> None:
        """Forget everything but the NICs."""
        for mac in [*self._inside, *self._outside]:
            self._outside[mac] = Nic(mac=mac, name=f"ens{mac[-1]}")
        self._inside.clear()
        self._rules.clear()
        self.steps_left = None

    @contextmanager
    def failing_after(self, steps: int) -> Iterator[None]:
        """Have the power fail after a number of changes."""
        self.steps_left = steps
        try:
            yield
        finally:
            self.steps_left = None

    def keepalived(self, name: str, vip: IPInterface, *, active: bool) -> None:
        """Let keepalived take the VIP of a pair, or give it up."""
        for nic in self._inside.values():
            if nic.name == name and active and vip not in nic.addresses:
                nic.addresses.append(vip)
            elif nic.name == name and not active and vip in nic.addresses:
                nic.addresses.remove(vip)

    # --- amphora_agent.system.network.Network ---

    def namespace_exists(self) -> bool:
        """See Network."""
        return True

    def outside(self, mac: str) -> Link | None:
        """See Network."""
        return _link(self._outside.get(mac))

    def inside(self, mac: str) -> Link | None:
        """See Network."""
        return _link(self._inside.get(mac))

    def names(self) -> frozenset[str]:
        """See Network."""
        return frozenset({"lo", *(nic.name for nic in self._inside.values())})

    def addresses(self, name: str) -> tuple[IPInterface, ...]:
        """See Network."""
        return tuple(self._nic(name).addresses)

    def settled(self) -> bool:
        """See Network."""
        return True

    def rescan(self) -> None:
        """See Network."""

    def adopt(self, link: Link, name: str) -> None:
        """See Network."""
        self._spend()
        if name in self.names():
            raise AgentError("The kernel refused a network request", "File exists")
        (mac,) = [mac for mac, nic in self._outside.items() if nic.name == link.name]
        del self._outside[mac]
        self._inside[mac] = Nic(mac=mac, name=name)

    def live(self, name: str) -> LiveInterface:
        """See Network."""
        nic = self._nic(name)
        return LiveInterface(
            up=nic.up,
            mtu=nic.mtu,
            addresses=tuple(nic.addresses),
            routes=tuple(nic.routes.values()),
            rules=tuple(self._rules),
            automatic=nic.automatic,
        )

    def apply(self, name: str, step: plan.Step) -> None:  # a case per step
        """See Network."""
        self._spend()
        nic = self._nic(name)
        match step:
            case plan.SetLink(mtu=mtu):
                nic.up, nic.mtu = True, mtu or nic.mtu
            case plan.SetLinkDown():
                nic.up = False
                nic.routes.clear()
            case plan.SetAutomatic(enabled):
                nic.automatic = enabled
            case plan.AddAddress(address):
                self._add_address(nic, address)
            case plan.DeleteAddress(address):
                self._delete_address(nic, address)
            case plan.AddRoute(route):
                self._add_route(nic, route)
            case plan.DeleteRoute(route):
                nic.routes.pop((route.destination, route.table), None)
            case plan.AddRule(rule):
                if rule not in self._rules:
                    self._rules.append(rule)
            case plan.DeleteRule(rule):
                if rule in self._rules:
                    self._rules.remove(rule)

    def interface_with(self, address: IPAddress) -> str | None:
        """See Network."""
        for nic in self._inside.values():
            if address in {entry.ip for entry in nic.addresses}:
                return nic.name
        return None

    def _spend(self) -> None:
        if self.steps_left is not None:
            if self.steps_left == 0:
                raise PowerFailure
            self.steps_left -= 1

    def _nic(self, name: str) -> Nic:
        for nic in self._inside.values():
            if nic.name == name:
                return nic
        raise AgentError(f"Interface {name} is missing", "it was unplugged, or never plugged")

    def _add_address(self, nic: Nic, address: IPInterface) -> None:
        if address in nic.addresses:
            return
        nic.addresses.append(address)
        key = (address.network, 254)
        if nic.up and address.network.num_addresses > 1 and key not in nic.routes:
            source = address.ip if address.version == 4 else None
            route = Route(destination=address.network, source=source)
            nic.routes[key] = LiveRoute(route=route, ours=False)

    def _delete_address(self, nic: Nic, address: IPInterface) -> None:
        if address not in nic.addresses:
            return
        family = [entry for entry in nic.addresses if entry.network == address.network]
        gone = [address]
        if address.version == 4 and family[0] == address:
            gone = family
        nic.addresses = [entry for entry in nic.addresses if entry not in gone]
        sources = {entry.ip for entry in gone}
        last = not any(entry.network == address.network for entry in nic.addresses)
        for key, entry in list(nic.routes.items()):
            kernels = not entry.ours and entry.route.destination == address.network
            if entry.route.source in sources or (kernels and last):
                del nic.routes[key]

    def _add_route(self, nic: Nic, route: Route) -> None:
        if not nic.up:
            raise InvalidRequest("The kernel refused a network request", "Network is down")
        own = {entry.ip for entry in nic.addresses}
        if route.source is not None and route.source not in own:
            raise InvalidRequest("The kernel refused a network request", "Invalid argument")
        nic.routes.setdefault((route.destination, route.table), LiveRoute(route=route, ours=True))


def _link(nic: Nic | None) -> Link | None:
    return None if nic is None else Link(index=int(nic.mac[-1]), name=nic.name, in_use=False)
