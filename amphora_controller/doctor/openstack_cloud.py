# SPDX-License-Identifier: Apache-2.0
"""Octavia's own view of the cloud: what its account sees, by openstacksdk. Nothing is changed."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

import openstack
from keystoneauth1.exceptions import ClientException
from keystoneauth1.identity.base import BaseIdentityPlugin
from openstack.connection import Connection
from openstack.exceptions import (
    ConfigException,
    ForbiddenException,
    NotFoundException,
    SDKException,
)

from amphora_controller.doctor.cloud import Clock, Flavor, Image, Network, Port
from amphora_controller.doctor.findings import NotAsked, Unproven
from amphora_controller.doctor.options import Account, Options
from amphora_controller.doctor.rules import Rule
from amphora_controller.errors import ControllerError

# For each step of a request; the whole has a limit of its own.
_TIMEOUT_S = 6


@dataclass(frozen=True, kw_only=True, slots=True)
class Login:
    """Who is logged in.

    Attributes:
        project: the id of the one that the account works in.
        clock: of Keystone, when it issued the token.
    """

    connection: Connection
    project: str
    clock: Clock


@dataclass(frozen=True, kw_only=True, slots=True)
class Compute:
    """What Nova says; the keypair is True where octavia.conf names none."""

    flavor: Flavor | None
    has_keypair: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Neutron:
    """What Neutron says.

    Attributes:
        networks: of amp_boot_network_list, in its order, as far as they are there.
        missing_groups: ids in amp_secgroup_list that are none.
        amphora_rules: of the groups in amp_secgroup_list.
        port: with the health manager's address.
        port_rules: of its groups.
    """

    networks: tuple[Network, ...]
    missing_groups: tuple[str, ...]
    amphora_rules: tuple[Rule, ...]
    port: Port | None
    port_rules: tuple[Rule, ...]


def log_in(account: Account, cloud: str) -> Login:
    """A connection with a token.

    Args:
        cloud: an entry of clouds.yaml; empty for the account in octavia.conf.

    Raises:
        ControllerError: Keystone refuses the account, or does not answer.
        NotAsked: there is no account.
        Unproven: it is not one of Keystone's.
    """
    if not cloud and not account.auth:
        raise NotAsked(
            "octavia.conf has no [service_auth] auth_url",
            "--os-cloud NAME takes one of clouds.yaml",
        )
    with _told("Keystone"):
        connection = _connection(account, cloud)
        plugin = connection.session.auth
        if not isinstance(plugin, BaseIdentityPlugin):
            raise Unproven("the account is none of Keystone's", "see --os-cloud")
        access = plugin.get_access(connection.session)
        here = datetime.now(UTC)
    if access.issued is None:
        raise Unproven("Keystone's token does not say when it was issued", "is that Keystone?")
    return Login(
        connection=connection,
        project=access.project_id or "",
        clock=Clock(there=access.issued, here=here),
    )


def _connection(account: Account, cloud: str) -> Connection:
    if cloud:
        return openstack.connect(cloud=cloud, api_timeout=_TIMEOUT_S)
    return openstack.connect(
        load_yaml_config=False,
        load_envvars=False,
        auth_type="password",
        auth=dict(account.auth),
        region_name=account.region or None,
        interface=account.interface,
        cacert=account.cafile or None,
        verify=account.is_verified,
        api_timeout=_TIMEOUT_S,
    )


def images(connection: Connection, options: Options) -> tuple[Image, ...]:
    """Images with the tag.

    Raises:
        ControllerError: Glance refuses, or does not answer.
    """
    with _told("Glance"):
        return tuple(_image(found) for found in connection.image.images(tag=options.image_tag))


def compute(connection: Connection, options: Options) -> Compute:
    """The flavor and the keypair.

    Raises:
        ControllerError: Nova refuses, or does not answer.
    """
    with _told("Nova"):
        return Compute(
            flavor=_flavor(connection, options.flavor),
            has_keypair=not options.ssh_key or _has_keypair(connection, options.ssh_key),
        )


def neutron(connection: Connection, options: Options) -> Neutron:
    """Networks, ports and security groups.

    Raises:
        ControllerError: Neutron refuses, or does not answer.
    """
    with _told("Neutron"):
        groups = [_group(connection, group) for group in options.security_groups]
        port = _port(connection, options)
        port_groups = port.security_groups if port else ()
        return Neutron(
            networks=tuple(
                found for name in options.networks if (found := _network(connection, name))
            ),
            missing_groups=tuple(
                name
                for name, found in zip(options.security_groups, groups, strict=True)
                if found is None
            ),
            amphora_rules=tuple(_rules(groups)),
            port=port,
            port_rules=tuple(_rules([_group(connection, group) for group in port_groups])),
        )


@contextmanager
def _told(service: str) -> Iterator[None]:
    """What goes wrong, with the service that it goes wrong with."""
    try:
        yield
    except ForbiddenException as exc:
        raise Unproven(
            f"{service} does not let the account look: {exc.message}",
            "Octavia's account needs the role admin or service in its project",
        ) from exc
    except ConfigException as exc:
        raise ControllerError(f"no such account: {exc}", "see --os-cloud") from exc
    except (SDKException, ClientException) as exc:
        raise ControllerError(
            f"{service}: {_reason(exc)}",
            "is [service_auth] right, and does the service run? Octavia asks it in the same way",
        ) from exc


def _reason(exc: Exception) -> str:
    """The first line of what an exception says, less what urllib3 adds to it."""
    first = str(getattr(exc, "message", None) or exc).partition("\n")[0]
    return re.split(r": HTTPS?ConnectionPool|, The request you have made", first)[0]


def _image(found: Any) -> Image:
    return Image(
        id=found.id,
        name=found.name or "",
        owner=found.owner_id or "",
        status=found.status,
        created_at=datetime.fromisoformat(found.created_at),
        min_disk_gb=found.min_disk or 0,
        min_ram_mb=found.min_ram or 0,
    )


def _flavor(connection: Connection, flavor_id: str) -> Flavor | None:
    try:
        found = connection.compute.get_flavor(flavor_id)
    except NotFoundException:
        return None
    return Flavor(name=found.name, ram_mb=found.ram, disk_gb=found.disk)


def _has_keypair(connection: Connection, name: str) -> bool:
    try:
        connection.compute.get_keypair(name)
    except NotFoundException:
        return False
    return True


def _network(connection: Connection, network_id: str) -> Network | None:
    try:
        found = connection.network.get_network(network_id)
    except NotFoundException:
        return None
    subnets = list(connection.network.subnets(network_id=found.id))
    return Network(
        id=found.id,
        name=found.name,
        kind=found.provider_network_type or "",
        subnets=tuple(subnet.cidr for subnet in subnets),
        pools=tuple(
            (ip_address(pool["start"]), ip_address(pool["end"]))
            for subnet in subnets
            for pool in subnet.allocation_pools
        ),
    )


def _port(connection: Connection, options: Options) -> Port | None:
    """The port with the health manager's address; of several one on a network of amphorae."""
    address = options.bind.address
    ports = sorted(
        connection.network.ports(fixed_ips=f"ip_address={address}"),
        key=lambda port: port.network_id not in options.networks,
    )
    if not ports:
        return None
    found = ports[0]
    return Port(
        id=found.id,
        network=found.network_id,
        mac=found.mac_address.lower(),
        status=found.status,
        security_groups=tuple(found.security_group_ids or ()),
        is_filtered=found.is_port_security_enabled is not False,
    )


def _group(connection: Connection, group_id: str) -> Any:
    try:
        return connection.network.get_security_group(group_id)
    except NotFoundException:
        return None


def _rules(groups: Sequence[Any]) -> Iterator[Rule]:
    for group in groups:
        for rule in group.security_group_rules if group is not None else ():
            yield Rule(
                direction=rule["direction"],
                ethertype=rule["ethertype"],
                protocol=rule["protocol"],
                ports=(rule["port_range_min"], rule["port_range_max"]),
                prefix=rule["remote_ip_prefix"],
                group=rule["remote_group_id"],
                address_group=rule.get("remote_address_group_id"),
            )
