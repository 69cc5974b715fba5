# SPDX-License-Identifier: Apache-2.0
"""The management network and its security groups."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from amphora_controller.errors import ControllerError
from amphora_controller.setup import groups
from amphora_controller.setup.cloud import Found, Request, Service
from amphora_controller.setup.context import Context
from amphora_controller.setup.steps import Change
from amphora_controller.site_cloud import NetworkSite, SubnetSite

# Device owner of the ports by which controllers are in the network.
CONTROLLER_PORT_OWNER = "Octavia:health-mgr"

# Neutron changes these of a subnet that is there; the others are for good.
_CHANGEABLE = frozenset({"allocation_pools", "enable_dhcp", "gateway_ip"})


@dataclass(frozen=True, slots=True)
class NetworkStep:
    """The network and its subnets where the site describes them, and both security groups."""

    context: Context
    name = "network"

    def changes(self) -> Iterator[Change]:
        """See Step."""
        described = self.context.site.management.network
        if described is not None:
            yield from self._network(described)
            for subnet in described.subnets:
                yield from self._subnet(described, subnet)
        yield from groups.changes(self.context)

    def removals(self) -> Iterator[Change]:
        """See Step; nothing while amphorae or controllers have ports in the network."""
        refuse_if_used(self.context)
        _refuse_while_controllers(self.context)
        yield from groups.removals(self.context)
        for network in _own_networks(self.context):
            subnets = list(
                self.context.cloud.find_all(Service.NETWORK, "/subnets", network_id=network["id"])
            )
            if not all(self.context.is_own(subnet) for subnet in subnets):
                raise ControllerError(
                    f"network {network['name']} has subnets that amphoractl did not make",
                    "remove them, or leave the network",
                )
            for subnet in subnets:
                yield self._delete("subnet", subnet)
            yield self._delete("network", network)

    def _network(self, described: NetworkSite) -> Iterator[Change]:
        wanted: dict[str, Any] = {} if described.mtu is None else {"mtu": described.mtu}
        found = find_network(self.context, described)
        if found is None:
            yield self._create("network", name=described.name, **wanted, **_provider(described))
            return
        for key, value in _provider(described).items():
            if found.get(key) != value:
                raise _unchangeable(f"network {described.name}", key, found.get(key), value)
        if any(found[key] != value for key, value in wanted.items()):
            yield self._update("network", found, wanted)

    def _subnet(self, described: NetworkSite, subnet: SubnetSite) -> Iterator[Change]:
        network = network_id(self.context, described)
        what = f"subnet {subnet.shown_name}"
        found = self.context.own(
            self.context.cloud.find_all(
                Service.NETWORK, "/subnets", network_id=network, name=subnet.shown_name
            ),
            what,
        )
        wanted = _subnet_body(subnet)
        if found is None:
            yield self._create("subnet", name=subnet.shown_name, network_id=network, **wanted)
            return
        different = {key: value for key, value in wanted.items() if found[key] != value}
        for key, value in different.items():
            if key not in _CHANGEABLE:
                raise _unchangeable(what, key, found[key], value)
        if different:
            yield self._update("subnet", found, different)

    def _create(self, kind: str, **body: Any) -> Change:
        whole = {
            **body,
            "project_id": self.context.project_id(),
            "description": self.context.mark,
        }
        return self.context.change(
            f"create {kind} {body['name']}",
            Request(service=Service.NETWORK, method="POST", path=f"/{kind}s", body={kind: whole}),
        )

    def _update(self, kind: str, found: Found, body: Mapping[str, Any]) -> Change:
        return self.context.change(
            f"change {', '.join(sorted(body))} of {kind} {found['name']}",
            Request(
                service=Service.NETWORK,
                method="PUT",
                path=f"/{kind}s/{found['id']}",
                body={kind: body},
            ),
        )

    def _delete(self, kind: str, found: Found) -> Change:
        return self.context.change(
            f"delete {kind} {found['name']}",
            Request(service=Service.NETWORK, method="DELETE", path=f"/{kind}s/{found['id']}"),
        )


def find_network(context: Context, described: NetworkSite) -> Found | None:
    """The network that setup made; None when there is none.

    Raises:
        ControllerError: another one has its name.
    """
    return context.own(_named(context, described), f"network {described.name}")


def network_id(context: Context, described: NetworkSite) -> str:
    """Its id; see Context.id_of."""
    found = find_network(context, described)
    return context.id_of(found, f"network {described.name}", NetworkStep.name)


def refuse_if_used(context: Context) -> None:
    """Whether load balancers still use the network that setup made.

    Raises:
        ControllerError: amphorae have ports in it.
    """
    for network in _own_networks(context):
        count = len(_ports(context, network, "compute:"))
        if count:
            raise ControllerError(
                f"{count} ports of amphorae are in network {network['name']}",
                "delete the load balancers first; nothing was removed",
            )


def _refuse_while_controllers(context: Context) -> None:
    """Their ports go in a step of their own, this one's before the network in a teardown."""
    for network in _own_networks(context):
        for port in _ports(context, network, CONTROLLER_PORT_OWNER):
            raise ControllerError(
                f"port {port['name']} of a controller is in network {network['name']}",
                "amphoractl teardown hm-port on that controller first",
            )


def _ports(context: Context, network: Found, owner: str) -> list[Found]:
    ports = context.cloud.find_all(Service.NETWORK, "/ports", network_id=network["id"])
    return [port for port in ports if port["device_owner"].startswith(owner)]


def _own_networks(context: Context) -> list[Found]:
    described = context.site.management.network
    if described is None or context.project() is None:
        return []
    return [found for found in _named(context, described) if context.is_own(found)]


def _named(context: Context, described: NetworkSite) -> Iterator[Found]:
    """Others' projects may have networks of that name: Octavia never meets them."""
    return context.cloud.find_all(
        Service.NETWORK, "/networks", name=described.name, project_id=context.project_id()
    )


def _provider(described: NetworkSite) -> dict[str, Any]:
    provider = described.provider
    if provider is None:
        return {}
    attributes = {
        "provider:network_type": provider.type,
        "provider:physical_network": provider.physical_network,
        "provider:segmentation_id": provider.segment,
    }
    return {key: value for key, value in attributes.items() if value is not None}


def _subnet_body(subnet: SubnetSite) -> dict[str, Any]:
    body: dict[str, Any] = {
        "ip_version": subnet.cidr.version,
        "cidr": str(subnet.cidr),
        "gateway_ip": None if subnet.gateway is None else str(subnet.gateway),
        "enable_dhcp": subnet.dhcp or subnet.address_mode is not None,
    }
    if subnet.pool is not None:
        first, last = subnet.pool
        body["allocation_pools"] = [{"start": str(first), "end": str(last)}]
    if subnet.address_mode is not None:
        body["ipv6_ra_mode"] = body["ipv6_address_mode"] = str(subnet.address_mode)
    return body


def _unchangeable(what: str, key: str, there: object, wanted: object) -> ControllerError:
    return ControllerError(
        f"{what} has {key} {there}, and the site says {wanted}: Neutron cannot change that",
        "give it another name in the site's file, or amphoractl teardown network first",
    )
