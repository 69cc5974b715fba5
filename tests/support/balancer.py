# SPDX-License-Identifier: Apache-2.0
"""A load balancer as tests describe it to the Octavia peer; names are those of Octavia's API."""

import uuid
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class Member:
    """A back end server."""

    address: IPv4Address
    port: int
    weight: int = 1
    enabled: bool = True
    id: uuid.UUID = field(default_factory=uuid.uuid4)


@dataclass(frozen=True, kw_only=True, slots=True)
class HealthMonitor:
    """How members are probed; times in seconds."""

    type: str
    delay: int = 2
    timeout: int = 1
    fall: int = 2
    rise: int = 1
    id: uuid.UUID = field(default_factory=uuid.uuid4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pool:
    """Members that share the requests of a listener."""

    members: tuple[Member, ...]
    lb_algorithm: str = "ROUND_ROBIN"
    protocol: str = "HTTP"
    monitor: HealthMonitor | None = None
    id: uuid.UUID = field(default_factory=uuid.uuid4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rejection:
    """An L7 policy that denies requests whose path begins with `prefix`."""

    prefix: str
    id: uuid.UUID = field(default_factory=uuid.uuid4)


@dataclass(frozen=True, kw_only=True, slots=True)
class Listener:
    """A port of the VIP and the pool behind it.

    Attributes:
        policies: in the order of their positions.
        pool: left out for a listener of protocol PROMETHEUS, which serves haproxy's metrics.
        certificates: references in the certificate store; the first is the default one.
    """

    port: int
    pool: Pool = field(default_factory=lambda: Pool(members=()))
    protocol: str = "HTTP"
    enabled: bool = True
    certificates: tuple[uuid.UUID, ...] = ()
    policies: tuple[Rejection, ...] = ()
    id: uuid.UUID = field(default_factory=uuid.uuid4)


class Role(StrEnum):
    """What an amphora is to its load balancer; of a pair, the MASTER is active first."""

    STANDALONE = "STANDALONE"
    MASTER = "MASTER"
    BACKUP = "BACKUP"

    @property
    def topology(self) -> str:
        """The topology that has amphorae of this role."""
        return "SINGLE" if self is Role.STANDALONE else "ACTIVE_STANDBY"


@dataclass(frozen=True, kw_only=True, slots=True)
class Amphora:
    """The virtual machine: where the controller reaches it and its base address on the VIP net."""

    management_address: IPv4Address
    vrrp_address: IPv4Address
    role: Role = Role.STANDALONE
    id: uuid.UUID = field(default_factory=uuid.uuid4)


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadBalancer:
    """A load balancer.

    Attributes:
        amphora: the one that operations act on.
        peer: the other one, if it has two.
    """

    vip: IPv4Address
    amphora: Amphora
    peer: Amphora | None = None
    listeners: tuple[Listener, ...] = ()
    id: uuid.UUID = field(default_factory=uuid.uuid4)


@dataclass(frozen=True, kw_only=True, slots=True)
class VipPort:
    """The Neutron port of the VIP network that Nova attaches to the amphora."""

    mac: str
    subnet: IPv4Network
    gateway: IPv4Address | None
    mtu: int


@dataclass(frozen=True, kw_only=True, slots=True)
class HostRoute:
    """A route of a Neutron subnet."""

    destination: IPv4Network
    nexthop: IPv4Address


@dataclass(frozen=True, kw_only=True, slots=True)
class MemberPort:
    """The Neutron port of a member network, with its addresses.

    Attributes:
        vip: whether it is the port of the VIP, on whose network members may be too.
    """

    mac: str
    subnet: IPv4Network
    addresses: tuple[IPv4Address, ...]
    gateway: IPv4Address | None
    mtu: int
    host_routes: tuple[HostRoute, ...] = ()
    vip: bool = False


def as_json(value: Amphora | LoadBalancer | VipPort | MemberPort) -> dict[str, Any]:
    """The description in JSON types: ids and addresses become strings."""
    plain = _plain(asdict(value))
    assert isinstance(plain, dict)
    return plain


def _plain(value: object) -> object:
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(item) for item in value]
    if isinstance(value, Role):
        return value.value
    if isinstance(value, uuid.UUID | IPv4Address | IPv4Network):
        return str(value)
    return value
