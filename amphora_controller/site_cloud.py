# SPDX-License-Identifier: Apache-2.0
"""What a site has, or wants to be made, in its cloud."""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from ipaddress import ip_address
from typing import Annotated

import msgspec
from msgspec import Meta

from amphora_agent.balancer.values import Address, Network
from amphora_agent.layout import is_object_id
from amphora_agent.topology import Topology
from amphora_controller.site_part import Name, Part, Url


class Provider(Part, frozen=True, kw_only=True):
    """Which network of the data centre a network of Neutron is."""

    type: Annotated[str, Meta(min_length=1)]
    physical_network: str | None = None
    segment: Annotated[int, Meta(ge=1)] | None = None


class AddressMode(StrEnum):
    """Who tells a port its IPv6 address, besides the config drive."""

    SLAAC = "slaac"
    DHCPV6_STATEFUL = "dhcpv6-stateful"
    DHCPV6_STATELESS = "dhcpv6-stateless"


class SubnetSite(Part, frozen=True, kw_only=True):
    """A subnet to make; amphorae learn their address from the config drive.

    Attributes:
        pool: first and last address that Neutron gives; all but the network's own by default.
        gateway: none by default: amphorae and controllers are neighbours.
        address_mode: of IPv6 with router advertisements or DHCPv6 by Neutron.
        dhcp: for images that do not read the config drive.
    """

    name: Name | None = None
    cidr: Network
    pool: tuple[Address, Address] | None = None
    gateway: Address | None = None
    address_mode: AddressMode | None = None
    dhcp: bool = False

    @property
    def shown_name(self) -> str:
        """The name that Neutron gets."""
        if self.name is not None:
            return self.name
        return "lb-mgmt-subnet" if self.cidr.version == 4 else "lb-mgmt-subnet-v6"


class NetworkSite(Part, frozen=True, kw_only=True):
    """The management network to make."""

    name: Name = "lb-mgmt-net"
    subnets: Annotated[tuple[SubnetSite, ...], Meta(min_length=1)]
    mtu: Annotated[int, Meta(ge=68, le=65535)] | None = None
    provider: Provider | None = None


class Management(Part, frozen=True, kw_only=True):
    """The management network: one to make, or what is there by Neutron's ids.

    Attributes:
        networks: ids; empty where `network` says what to make.
        security_groups: ids of groups of amphorae; empty where they are to be made.
        amphora_group, controller_group: names of the groups to make.
        ssh: controllers may also log in to amphorae.
    """

    networks: tuple[str, ...] = ()
    security_groups: tuple[str, ...] = ()
    network: NetworkSite | None = None
    amphora_group: Name = "lb-mgmt-sec-grp"
    controller_group: Name = "lb-health-mgr-sec-grp"
    ssh: bool = False


class FlavorSite(Part, frozen=True, kw_only=True):
    """The flavor to make.

    Attributes:
        ram_mib: MiB.
        disk_gib: GiB; what the image needs by default.
    """

    name: Name = "m1.amphora"
    ram_mib: Annotated[int, Meta(ge=256)] = 1024
    vcpus: Annotated[int, Meta(ge=1)] = 1
    disk_gib: Annotated[int, Meta(ge=1)] | None = None
    properties: dict[str, str] = msgspec.field(default_factory=lambda: {"hw_rng:allowed": "True"})


class OldImages(StrEnum):
    """What happens to images that a newer one replaces."""

    KEEP = "keep"
    DELETE = "delete"


class ImageSite(Part, frozen=True, kw_only=True):
    """The image to upload.

    Attributes:
        file: a qcow2 or raw file.
        old: what happens to those that setup has uploaded before: they lose the tag, and are kept
            or deleted.
    """

    file: Annotated[str, Meta(min_length=1)]
    name: Name = "amphora-x64-haproxy"
    old: OldImages = OldImages.KEEP
    properties: dict[str, str] = msgspec.field(
        default_factory=lambda: {"hw_architecture": "x86_64", "hw_rng_model": "virtio"}
    )


class AmphoraSite(Part, frozen=True, kw_only=True):
    """What amphorae are made of.

    Attributes:
        flavor: the id of one that is there, or one to make.
        image: none where another way brings the image into the cloud.
        ssh_key: name of a keypair.
        ssh_public_key: file with the public key of a keypair to make.
    """

    flavor: Annotated[str, Meta(min_length=1)] | FlavorSite = msgspec.field(
        default_factory=FlavorSite
    )
    image: ImageSite | None = None
    image_tag: Name = "amphora"
    image_owner: str | None = None
    ssh_key: str | None = None
    ssh_public_key: str | None = None
    topology: Topology = Topology.SINGLE


class Endpoints(Part, frozen=True, kw_only=True):
    """Where Octavia's API answers; what is absent is as `public`."""

    public: Url
    internal: Url | None = None
    admin: Url | None = None


def problems(management: Management, amphora: AmphoraSite) -> Iterator[str]:
    """What types alone do not say."""
    for place, ids in (
        ("management.networks", management.networks),
        ("management.security_groups", management.security_groups),
    ):
        for index, name in enumerate(ids):
            if not is_object_id(name):
                yield f"{place}[{index}]: {name!r} is not an id; `openstack network list` has it"
    if (management.network is None) == (not management.networks):
        yield "management: either `network` (to make) or `networks` (ids of what is there)"
    if management.amphora_group == management.controller_group:
        yield "management: amphora_group and controller_group are two groups, with two names"
    if management.network is not None:
        yield from _subnet_problems(management.network.subnets)
    if amphora.image is not None and amphora.image_owner is not None:
        yield "amphora.image_owner: the image that setup uploads belongs to keystone.project"
    if amphora.ssh_public_key is not None and amphora.ssh_key is None:
        yield "amphora.ssh_public_key: the keypair needs a name, amphora.ssh_key"


def _subnet_problems(subnets: Sequence[SubnetSite]) -> Iterator[str]:
    names = [subnet.shown_name for subnet in subnets]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield f"management.network.subnets: two have the name {name}; give each a `name`"
    for index, subnet in enumerate(subnets):
        place = f"management.network.subnets[{index}]"
        addresses = (*(subnet.pool or ()), *((subnet.gateway,) if subnet.gateway else ()))
        outside = [address for address in addresses if not subnet.cidr.holds(address)]
        for address in outside:
            yield f"{place}: {address} is not in {subnet.cidr}"
        if subnet.pool and not outside and _number(subnet.pool[0]) > _number(subnet.pool[1]):
            yield f"{place}.pool: {subnet.pool[0]} comes after {subnet.pool[1]}"
        if subnet.address_mode is not None and subnet.cidr.version == 4:
            yield f"{place}.address_mode: only IPv6 has one"


def _number(address: Address) -> int:
    return int(ip_address(address))
