# SPDX-License-Identifier: Apache-2.0
"""The health manager's port: in Neutron, and as an interface of this host."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_interface, ip_network
from typing import Any

from amphora_controller.errors import ControllerError
from amphora_controller.hostnet import files
from amphora_controller.hostnet.interface import HostInterface, bridge_name, tap_name
from amphora_controller.setup import groups, network
from amphora_controller.setup.cloud import Found, Request, Service
from amphora_controller.setup.context import Context
from amphora_controller.setup.hm_port_host import HostHalf, Place
from amphora_controller.setup.rules import log_ports
from amphora_controller.setup.steps import Change
from amphora_controller.site_host import HostSite
from amphora_controller.units import SystemdUnits, Units

# What a dry run shows for the MTU of a network that is not there yet.
_USUAL_MTU = 1500


@dataclass(frozen=True, kw_only=True, slots=True)
class Subnet:
    """Where the management address is.

    Attributes:
        id, network_id: of Neutron; in a dry run they may be placeholders.
        prefix_length: bits.
        mtu: bytes, of the network.
    """

    id: str
    network_id: str
    prefix_length: int
    mtu: int


@dataclass(frozen=True, slots=True)
class HmPortStep:
    """A port that is bound to this host, and the interface that stands for it.

    Nothing of it where the site has no `host`.
    """

    context: Context
    place: Place = field(default_factory=Place)
    units: Units = field(default_factory=SystemdUnits)
    name: str = field(default="hm-port", init=False)

    def changes(self) -> Iterator[Change]:
        """See Step.

        Raises:
            ControllerError: the management network has no subnet of the address, the address or
                the name is taken, Neutron has no agent on this host, or something on this host is
                in the way.
        """
        host = self.context.site.host
        if host is None:
            return
        subnet = self._subnet()
        # Before Neutron gets a port that then is of no use.
        self._half(host, subnet, self._port()).check()
        yield from self._port_changes(subnet)
        yield from self._half(host, subnet, self._port()).changes()

    def removals(self) -> Iterator[Change]:
        """See Step."""
        host = self.context.site.host
        if host is None:
            return
        port = self._named_port() if self.context.project() is not None else None
        port = port if port is not None and self.context.is_own(port) else None
        placeholder = Subnet(id="", network_id="", prefix_length=0, mtu=_USUAL_MTU)
        yield from self._half(host, placeholder, port).removals()
        if port is not None:
            yield self.context.change(
                f"delete port {port['name']}",
                Request(service=Service.NETWORK, method="DELETE", path=f"/ports/{port['id']}"),
            )

    @property
    def _port_name(self) -> str:
        return f"octavia-health-manager-{self.context.controller.name}-listen-port"

    @property
    def _address(self) -> str:
        return str(self.context.controller.management_ip)

    def _named_port(self) -> Found | None:
        return next(self._ports(name=self._port_name, project_id=self.context.project_id()), None)

    def _port(self) -> Found | None:
        found = self._ports(name=self._port_name, project_id=self.context.project_id())
        return self.context.own(found, f"port {self._port_name}")

    def _ports(self, **query: str) -> Iterator[Found]:
        return self.context.cloud.find_all(Service.NETWORK, "/ports", **query)

    def _port_changes(self, subnet: Subnet) -> Iterator[Change]:
        management = self.context.site.management
        wanted: dict[str, Any] = {
            "binding:host_id": self._neutron_host(),
            "device_owner": network.CONTROLLER_PORT_OWNER,
            "fixed_ips": [{"subnet_id": subnet.id, "ip_address": self._address}],
            "security_groups": [groups.group_id(self.context, management.controller_group)],
        }
        found = self._port()
        if found is None:
            self._expect_free(subnet)
            body = {
                "name": self._port_name,
                "network_id": subnet.network_id,
                "project_id": self.context.project_id(),
                "description": self.context.mark,
                **wanted,
            }
            yield self.context.change(
                f"create port {self._port_name} with {self._address}",
                Request(service=Service.NETWORK, method="POST", path="/ports", body={"port": body}),
            )
            return
        if found["network_id"] != subnet.network_id:
            raise ControllerError(
                f"port {self._port_name} is on network {found['network_id']}, not on "
                f"{subnet.network_id}",
                "amphoractl teardown hm-port removes it",
            )
        different = {key: value for key, value in wanted.items() if found.get(key) != value}
        if different:
            if "fixed_ips" in different:
                self._expect_free(subnet)
            yield self.context.change(
                f"change {', '.join(sorted(different))} of port {self._port_name}",
                Request(
                    service=Service.NETWORK,
                    method="PUT",
                    path=f"/ports/{found['id']}",
                    body={"port": different},
                ),
            )

    def _expect_free(self, subnet: Subnet) -> None:
        taken = self._ports(network_id=subnet.network_id, fixed_ips=f"ip_address={self._address}")
        for port in taken:
            if port["name"] != self._port_name:
                raise ControllerError(
                    f"{self._address} is taken by port {port['id']} ({port['name'] or 'no name'}, "
                    f"of {port['device_owner'] or 'nobody'})",
                    "give the controller another management_ip, outside of the subnet's pool",
                )

    def _neutron_host(self) -> str:
        """This host as Neutron's agents call it: by its name, or with the domain.

        Raises:
            ControllerError: agents run on other hosts, and none on this one.
        """
        name = self.context.controller.name
        agents = self.context.cloud.find_all(Service.NETWORK, "/agents")
        hosts = sorted({str(agent["host"]) for agent in agents})
        for host in hosts:
            if host == name or host.partition(".")[0] == name:
                return host
        if hosts:
            raise ControllerError(
                f"no agent of Neutron runs on {name}; they run on {', '.join(hosts)}",
                "the interface needs one on this host; the controller's name in the site must be "
                "the host's",
            )
        return name

    def _subnet(self) -> Subnet:
        """The subnet of the management network that the address belongs to."""
        address = ip_address(self._address)
        management = self.context.site.management
        described = management.network
        networks = management.networks
        if described is not None:
            networks = (network.network_id(self.context, described),)
        for network_id in networks:
            subnets = self.context.cloud.find_all(
                Service.NETWORK, "/subnets", network_id=network_id
            )
            for found in subnets:
                if address in ip_network(found["cidr"]):
                    return Subnet(
                        id=str(found["id"]),
                        network_id=network_id,
                        prefix_length=ip_network(found["cidr"]).prefixlen,
                        mtu=self._mtu(network_id),
                    )
        if described is not None and self.context.dry_run:
            for planned in described.subnets:
                if address in ip_network(str(planned.cidr)):
                    return Subnet(
                        id=f"<id of subnet {planned.shown_name}>",
                        network_id=networks[0],
                        prefix_length=ip_network(str(planned.cidr)).prefixlen,
                        mtu=described.mtu or _USUAL_MTU,
                    )
        raise ControllerError(
            f"the management network has no subnet of {address}",
            f"give {self.context.controller.name} a management_ip of one of its subnets",
        )

    def _mtu(self, network_id: str) -> int:
        (found,) = self.context.cloud.find_all(Service.NETWORK, "/networks", id=network_id)
        return int(found["mtu"])

    def _half(self, host: HostSite, subnet: Subnet, port: Found | None) -> HostHalf:
        """The interface that stands for the port; of one that is not there, in a dry run."""
        shown = f"of port {self._port_name}>"
        wanted = HostInterface(
            name=host.interface,
            plug=host.plug,
            bridge=host.bridge or bridge_name(host.plug, subnet.network_id),
            port_id=f"<id {shown}" if port is None else str(port["id"]),
            mac=f"<MAC {shown}" if port is None else str(port["mac_address"]),
            tap=f"<tap {shown}" if port is None else tap_name(str(port["id"])),
            address=ip_interface(f"{self._address}/{subnet.prefix_length}"),
            mtu=host.mtu or subnet.mtu,
            ovs_database=host.ovs_database,
        )
        rules = files.rules(
            host.interface,
            heartbeat_port=self.context.site.health.port,
            log_ports=sorted(set(log_ports(self.context.site))),
            log_protocol=self.context.site.logs.protocol.lower(),
        )
        return HostHalf(
            wanted=wanted,
            rules=rules,
            place=self.place,
            units=self.units,
            is_known=port is not None,
        )
