# SPDX-License-Identifier: Apache-2.0
"""What octavia.conf names, against what the cloud really has."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_network

from amphora_controller.doctor.findings import Note, failed, ok
from amphora_controller.doctor.network import Link
from amphora_controller.doctor.options import Address, Options
from amphora_controller.doctor.rules import Rule, lets

# As for amphorae, see amphora.probe.
_SKEW_MAX_S = 30
# Kinds of networks that hosts can be on without Neutron.
_PHYSICAL = ("flat", "vlan")


@dataclass(frozen=True, kw_only=True, slots=True)
class Image:
    """An image with the tag that Octavia looks for.

    Attributes:
        min_disk_gb, min_ram_mb: that a flavor must have.
    """

    id: str
    name: str
    owner: str
    status: str
    created_at: datetime
    min_disk_gb: int
    min_ram_mb: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Flavor:
    """What amphorae have."""

    name: str
    ram_mb: int
    disk_gb: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Port:
    """A port of Neutron that has the health manager's address.

    Attributes:
        mac: in lower case, with colons.
        is_filtered: Neutron lets through only what security groups, MAC and address allow.
    """

    id: str
    network: str
    mac: str
    status: str
    security_groups: tuple[str, ...]
    is_filtered: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Clock:
    """The time by Keystone's clock and by this machine's; both aware."""

    there: datetime
    here: datetime


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A network.

    Attributes:
        kind: such as vxlan, or flat; empty if Octavia's account may not see it.
        subnets: as prefixes.
        pools: first and last address of what Neutron gives away.
    """

    id: str
    name: str
    kind: str
    subnets: tuple[str, ...]
    pools: tuple[tuple[Address, Address], ...]

    def gives_away(self, address: Address) -> bool:
        """Whether a new port may get an address."""
        return any(
            first.version == address.version and int(first) <= int(address) <= int(last)
            for first, last in self.pools
        )


def image(
    images: Sequence[Image], options: Options, project: str, flavor: Flavor | None
) -> Iterator[Note]:
    """Whether the next amphora boots from the right image.

    Octavia takes the newest active one that has the tag and, if that is set, the owner.

    Args:
        images: with the tag, of every status and owner that may be seen.
        project: the one that octavia.conf's account works in.
        flavor: of amphorae; None if it is not known.
    """
    tag, owner = options.image_tag, options.image_owner
    fitting = [found for found in images if found.status == "active" and owner in ("", found.owner)]
    if not fitting:
        yield _no_image(images, tag, owner)
        return
    newest = max(fitting, key=lambda found: found.created_at)
    shown = f"{newest.name} ({newest.id})"
    if not owner and newest.owner != project:
        yield failed(
            f"the newest image with tag {tag}, {shown}, is project {newest.owner}'s, not Octavia's",
            "set [controller_worker] amp_image_owner_id, or who may share images makes amphorae",
        )
        return
    if flavor and (newest.min_disk_gb > flavor.disk_gb or newest.min_ram_mb > flavor.ram_mb):
        yield failed(
            f"{shown} needs {newest.min_disk_gb} GB of disk and {newest.min_ram_mb} MB of memory, "
            f"and flavor {flavor.name} has {flavor.disk_gb} and {flavor.ram_mb}",
            "a larger flavor, or `openstack image set --min-disk --min-ram`",
        )
        return
    more = f"; {len(fitting) - 1} older ones have the tag too" if len(fitting) > 1 else ""
    yield ok(f"{shown} has tag {tag} and is of project {newest.owner}{more}")


def _no_image(images: Sequence[Image], tag: str, owner: str) -> Note:
    foreign = [found for found in images if owner and found.owner != owner]
    if foreign:
        names = ", ".join(f"{found.name} of {found.owner}" for found in foreign)
        return failed(
            f"no image with tag {tag} is of project {owner}; {names} is not",
            "upload the image in that project, or correct [controller_worker] amp_image_owner_id",
        )
    if images:
        names = ", ".join(f"{found.name} is {found.status}" for found in images)
        return failed(f"no image with tag {tag} is active: {names}", "upload it again")
    return failed(
        f"no image has the tag {tag}",
        f"openstack image set --tag {tag} IMAGE; it must be Octavia's project's, or shared with it",
    )


def flavor(found: Flavor | None, options: Options) -> Iterator[Note]:
    """Whether the flavor is there."""
    if found is None:
        yield failed(
            f"there is no flavor {options.flavor} that Octavia may use",
            "correct [controller_worker] amp_flavor_id: an id, not a name; `openstack flavor list "
            "--all`. A private one needs `openstack flavor set --project`",
        )
    else:
        yield ok(f"{found.name}: {found.ram_mb} MB of memory, {found.disk_gb} GB of disk")


def account(project: str) -> Note:
    """An account that Keystone takes."""
    return ok(f"works in project {project}")


def clock(found: Clock) -> Note:
    """Whether this machine has the time of the cloud."""
    seconds = round((found.here - found.there).total_seconds())
    if abs(seconds) > _SKEW_MAX_S:
        return failed(
            f"this machine is {abs(seconds)} s {'ahead of' if seconds > 0 else 'behind'} Keystone",
            "which of both is wrong? `timedatectl`; certificates and tokens go by it",
        )
    return ok(f"{abs(seconds)} s from Keystone's")


def keypair(options: Options, *, has_keypair: bool) -> Iterator[Note]:
    """Whether the SSH key is there."""
    if has_keypair:
        yield ok(f"{options.ssh_key} is there" if options.ssh_key else "none is wanted")
    else:
        yield failed(
            f"Octavia's account has no keypair {options.ssh_key}",
            "keypairs are a user's own: make it as that user, or take amp_ssh_key_name out",
        )


def networks(found: Sequence[Network], options: Options) -> Iterator[Note]:
    """Whether the networks that amphorae boot on are there."""
    missing = sorted(set(options.networks) - {network.id for network in found})
    for network_id in missing:
        yield failed(
            f"there is no network {network_id}",
            "correct [controller_worker] amp_boot_network_list: ids, not names; `openstack network "
            "list`",
        )
    bare = [network.name for network in found if not network.subnets]
    for name in bare:
        yield failed(
            f"network {name} has no subnet", "openstack subnet create --no-dhcp --gateway none …"
        )
    if not missing and not bare:
        yield ok(", ".join(f"{network.name} {' '.join(network.subnets)}" for network in found))


def port(
    found: Port | None, link: Link | None, networks: Sequence[Network], options: Options
) -> Iterator[Note]:
    """Whether the interface is what Neutron takes it for.

    Args:
        found: the port with the health manager's address; None if no port has it.
        link: the interface.
        networks: those that amphorae boot on.
    """
    bind = options.bind.address
    if found is None:
        yield _no_port(networks, bind)
    elif found.network not in options.networks:
        yield failed(
            f"the port with {bind} is on network {found.network}, which amp_boot_network_list does "
            "not name",
            "amphorae are elsewhere: correct the port, or amp_boot_network_list",
        )
    elif link is not None and found.is_filtered and link.mac != found.mac:
        yield failed(
            f"{link.name} has MAC {link.mac}, and its port has {found.mac}",
            f"ip link set {link.name} address {found.mac}: Neutron drops what another one sends",
        )
    else:
        yield ok(f"port {found.id} has MAC {found.mac} and {bind} (status {found.status})")


def _no_port(networks: Sequence[Network], bind: Address) -> Note:
    physical = [network for network in networks if network.kind in _PHYSICAL]
    if physical and not any(network.gives_away(bind) for network in networks):
        return ok(
            f"none: {physical[0].name} is a physical network, and {bind} not Neutron's to give"
        )
    return failed(
        f"no port of Neutron has the address {bind}",
        "Neutron may give the address to somebody else, and lets nothing through: make the port, "
        "with that fixed address, `--device-owner Octavia:health-mgr` and this host",
    )


def amphora_rules(
    rules: Sequence[Rule],
    missing: Sequence[str],
    own: Port | None,
    options: Options,
) -> Iterator[Note]:
    """Whether amphorae's security groups let controllers in, and heartbeats out.

    Args:
        rules: of all of them.
        missing: ids in amp_secgroup_list that are none.
        own: the port of this controller.
    """
    for group in missing:
        yield failed(
            f"there is no security group {group}",
            "correct [controller_worker] amp_secgroup_list: ids, not names; `openstack security "
            "group list`",
        )
    if missing:
        return
    faults = []
    for item in options.endpoints:
        groups = frozenset(own.security_groups) if own and item == options.bind else None
        if not lets(
            rules,
            direction="ingress",
            protocol="tcp",
            port=options.api_port,
            peer=item.address,
            peer_groups=groups,
        ):
            faults.append(
                failed(
                    f"no rule of amphorae's lets TCP {options.api_port} from {item.address} in",
                    f"openstack security group rule create --protocol tcp --dst-port "
                    f"{options.api_port} {_ethertype(item.address)}{options.security_groups[0]}",
                )
            )
        if not lets(
            rules,
            direction="egress",
            protocol="udp",
            port=item.port,
            peer=item.address,
            peer_groups=groups,
        ):
            faults.append(
                failed(
                    f"no rule of amphorae's lets heartbeats to {item} out",
                    f"openstack security group rule create --egress --protocol udp --dst-port "
                    f"{item.port} {_ethertype(item.address)}{options.security_groups[0]}",
                )
            )
    yield from faults
    if not faults:
        yield ok(f"TCP {options.api_port} comes in to amphorae, heartbeats go out")


def manager_rules(
    found: Port, rules: Sequence[Rule], networks: Sequence[Network], options: Options
) -> Iterator[Note]:
    """Whether the security groups of the health manager's port let heartbeats in.

    Args:
        rules: of the port's groups.
        networks: that amphorae boot on; the first one is the management network.
    """
    bind, groups = options.bind, frozenset(options.security_groups)
    subnets = [ip_network(cidr) for network in networks[:1] for cidr in network.subnets]
    shut = [
        subnet
        for subnet in subnets
        if subnet.version == bind.address.version
        and not lets(
            rules,
            direction="ingress",
            protocol="udp",
            port=bind.port,
            peer=subnet,
            peer_groups=groups,
        )
    ]
    if found.is_filtered and shut:
        where = found.security_groups[0] if found.security_groups else "GROUP"
        yield failed(
            f"no rule of the health manager's port lets UDP {bind.port} from {shut[0]} in",
            f"openstack security group rule create --protocol udp --dst-port {bind.port} "
            f"{_ethertype(bind.address)}{where}",
        )
    else:
        yield ok(f"UDP {bind.port} comes in to the health manager's port")


def _ethertype(address: Address) -> str:
    return "--ethertype IPv6 " if address.version == 6 else ""
