# SPDX-License-Identifier: Apache-2.0
"""The document that describes a load balancer: what API 2.0 takes, keeps and renders.

Names and values are those of Octavia's API for users where it has them. Times carry their unit in
the name. A part that is left out means what Octavia's default means; the parts that go beyond
Octavia's are off unless they are there.
"""

from enum import StrEnum
from typing import Annotated

from msgspec import Meta

from amphora_agent.balancer.listener import Listener
from amphora_agent.balancer.parts import Count, Part, Seconds, Threshold
from amphora_agent.balancer.pool import Pool
from amphora_agent.balancer.values import (
    Address,
    CertificateName,
    Network,
    ObjectId,
    ProjectId,
    Sha256,
    VrrpPassword,
)
from amphora_agent.topology import Topology


class Role(StrEnum):
    """Which amphora of a pair holds the VIP when both can."""

    MASTER = "MASTER"
    BACKUP = "BACKUP"


class Certificate(Part, frozen=True, kw_only=True):
    """A PEM file: a certificate with its key and intermediates, CA certificates, or a CRL.

    Attributes:
        name: by which other parts name it.
        pem: the content; left out for one that the amphora has already.
        sha256: of the content, in hexadecimal; told in answers, where `pem` never is. With `pem`
            left out it says which content is meant.
    """

    name: CertificateName
    pem: str | None = None
    sha256: Sha256 | None = None

    def __repr__(self) -> str:
        return f"Certificate(name={str(self.name)!r})"


class Route(Part, frozen=True, kw_only=True):
    """A route that Neutron gives to the hosts of a subnet."""

    destination: Network
    nexthop: Address


class Vip(Part, frozen=True, kw_only=True):
    """A virtual IP address with the subnet it lies in."""

    address: Address
    subnet: Network
    gateway: Address | None = None
    host_routes: tuple[Route, ...] = ()


class Amphora(Part, frozen=True, kw_only=True):
    """One of the amphorae that serve the load balancer.

    Attributes:
        vrrp_ip: the address of its own on the VIP's network.
    """

    id: ObjectId
    vrrp_ip: Address
    role: Role = Role.MASTER
    priority: Annotated[int, Meta(ge=1, le=254)] | None = None


class Bfd(Part, frozen=True, kw_only=True):
    """Detection of a dead peer by BFD between the amphorae of a pair."""

    interval_ms: Annotated[int, Meta(ge=10, le=10_000)] = 100
    multiplier: Annotated[int, Meta(ge=2, le=50)] = 5


class VrrpGroup(Part, frozen=True, kw_only=True):
    """How the amphorae of a pair agree on who holds the VIP.

    Attributes:
        advert_interval_ms: whole seconds, unless `version` is 3.
        authentication: password of VRRP version 2.
        track_process: also watch haproxy's process, which the kernel tells at once.
    """

    version: Annotated[int, Meta(ge=2, le=3)] = 2
    advert_interval_ms: Annotated[int, Meta(ge=10, le=40_000)] = 1000
    authentication: VrrpPassword | None = None
    check_interval_s: Seconds = 5
    check_fall: Threshold = 2
    check_rise: Threshold = 2
    garp_refresh_interval_s: Annotated[int, Meta(ge=0, le=86_400)] = 5
    garp_refresh_count: Annotated[int, Meta(ge=1, le=100)] = 2
    track_process: bool = False
    bfd: Bfd | None = None


class Tuning(Part, frozen=True, kw_only=True):
    """What holds for all of haproxy.

    Attributes:
        stick_table_size: entries of each table of persistent sessions.
        max_old_workers: how many may linger after reloads; the oldest is ended.
        hard_stop_after_s: how long one may linger.
    """

    connection_logging: bool = True
    stick_table_size: Count = 10_240
    max_old_workers: Annotated[int, Meta(ge=1, le=100)] | None = None
    hard_stop_after_s: Seconds | None = None


class LoadBalancer(Part, frozen=True, kw_only=True):
    """The whole document.

    Attributes:
        amphorae: all of them, this one included; for ACTIVE_STANDBY only.
        sriov: the VIP's NIC is out of Neutron's firewall, so that the amphora needs its own.
    """

    id: ObjectId
    vip: Vip
    additional_vips: tuple[Vip, ...] = ()
    project_id: ProjectId | None = None
    enabled: bool = True
    topology: Topology = Topology.SINGLE
    sriov: bool = False
    amphorae: tuple[Amphora, ...] = ()
    vrrp: VrrpGroup | None = None
    listeners: tuple[Listener, ...] = ()
    pools: tuple[Pool, ...] = ()
    certificates: tuple[Certificate, ...] = ()
    tuning: Tuning = Tuning()

    @property
    def vips(self) -> tuple[Vip, ...]:
        """The primary VIP, then the others in the order of their addresses' text."""
        return (self.vip, *sorted(self.additional_vips, key=lambda vip: vip.address))

    def pool(self, pool_id: str) -> Pool:
        """The pool of an id.

        Raises:
            KeyError: there is none.
        """
        for pool in self.pools:
            if pool.id == pool_id:
                return pool
        raise KeyError(pool_id)
