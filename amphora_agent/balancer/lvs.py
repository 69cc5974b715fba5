# SPDX-License-Identifier: Apache-2.0
"""A UDP or SCTP listener of a document as the configuration of its own keepalived.

Comments of the file tell the agent which object is which (see `templates/lvs.conf.j2`): heartbeats
depend on their wording, and on a member's comment standing right before its real_server.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby

from amphora_agent.balancer import keepalived_conf
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.listener import Listener
from amphora_agent.balancer.parts import LVS_PROTOCOLS
from amphora_agent.balancer.pool import (
    Algorithm,
    HealthMonitor,
    HttpMethod,
    Member,
    MonitorType,
    PersistenceType,
    Pool,
    SessionPersistence,
)
from amphora_agent.balancer.values import Address, Granularity
from amphora_agent.balancer.written import Written
from amphora_agent.layout import Layout

_SCHEDULERS = {
    Algorithm.ROUND_ROBIN: "wrr",
    Algorithm.LEAST_CONNECTIONS: "lc",
    Algorithm.SOURCE_IP: "sh",
}
# Octavia's defaults.
_PERSISTENCE_TIMEOUT_S = 360
_ONE_CLIENT = {4: "255.255.255.255", 6: "128"}


@dataclass(frozen=True, kw_only=True, slots=True)
class _Script:
    """A check by a program that exits 0 for a member that answers."""

    command: Written
    timeout_s: int


@dataclass(frozen=True, kw_only=True, slots=True)
class _Connection:
    """A check by a TCP connection.

    Attributes:
        http: what is asked over it, if anything is.
    """

    address: Address
    port: int
    timeout_s: int
    http: "_Http | None" = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Http:
    """A GET request, and status codes or ranges of them that are well."""

    path: str
    codes: tuple[str, ...]
    version: str | None
    host: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Server:
    """A member, with its check."""

    member: Member
    script: _Script | None = None
    connection: _Connection | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Family:
    """What is served on the VIPs of one IP version.

    Attributes:
        granularity: how many clients go to one member together; None without persistence.
    """

    name: str
    addresses: tuple[Address, ...]
    granularity: str | None
    servers: tuple[_Server, ...]


def config(document: LoadBalancer, listener: Listener, layout: Layout) -> str:
    """The file of one listener of the document.

    Raises:
        InvalidRequest: a value cannot stand in the file.
    """
    pool = _pool(document, listener)
    serves = document.enabled and listener.enabled
    return keepalived_conf.text(
        "lvs.conf.j2",
        balancer_id=document.id,
        listener=listener,
        netns=layout.netns,
        pool=pool,
        has_members=pool is not None and pool.protocol in LVS_PROTOCOLS,
        scheduler=None if pool is None else _SCHEDULERS[pool.algorithm],
        persistence_timeout_s=_persistence_timeout(pool),
        monitor=_monitor(pool),
        families=list(_families(document, pool, layout)) if pool is not None and serves else [],
    )


def _pool(document: LoadBalancer, listener: Listener) -> Pool | None:
    return None if listener.default_pool is None else document.pool(listener.default_pool)


def _monitor(pool: Pool | None) -> HealthMonitor | None:
    """The pool's monitor, if it is to run."""
    if pool is None or pool.health_monitor is None or not pool.health_monitor.enabled:
        return None
    return pool.health_monitor


def _persistence(pool: Pool | None) -> SessionPersistence | None:
    """The persistence that IPVS knows."""
    if pool is None or pool.session_persistence is None:
        return None
    persistence = pool.session_persistence
    return persistence if persistence.type is PersistenceType.SOURCE_IP else None


def _persistence_timeout(pool: Pool | None) -> int | None:
    persistence = _persistence(pool)
    return None if persistence is None else persistence.timeout_s or _PERSISTENCE_TIMEOUT_S


def _families(document: LoadBalancer, pool: Pool, layout: Layout) -> Iterator[_Family]:
    for version in (4, 6):
        addresses = tuple(vip.address for vip in document.vips if vip.address.version == version)
        if addresses:
            yield _Family(
                name=f"ipv{version}-group",
                addresses=addresses,
                granularity=_granularity(_persistence(pool), version),
                servers=tuple(
                    _server(member, _monitor(pool), layout)
                    for member in pool.members
                    if member.address.version == version
                ),
            )


def _granularity(persistence: SessionPersistence | None, version: int) -> str | None:
    """What was asked for, where it is of the family: the other one keeps its default."""
    if persistence is None:
        return None
    asked = persistence.granularity
    return asked if asked and _version(asked) == version else _ONE_CLIENT[version]


def _version(granularity: Granularity) -> int:
    return 4 if "." in granularity else 6


def _server(member: Member, monitor: HealthMonitor | None, layout: Layout) -> _Server:
    if monitor is None or not member.enabled:
        return _Server(member=member)
    address = member.monitor_address or member.address
    port = member.monitor_port or member.port
    match monitor.type:
        case MonitorType.UDP_CONNECT:
            program = keepalived_conf.command(str(layout.udp_check), address, str(port))
            return _Server(
                member=member, script=_Script(command=program, timeout_s=monitor.timeout_s)
            )
        case MonitorType.SCTP:
            program = keepalived_conf.command(
                *("amphora-health-checker", "sctp", "-t", str(monitor.timeout_s)),
                *(address, str(port)),
            )
            # The program gives up first, and can say so.
            return _Server(
                member=member, script=_Script(command=program, timeout_s=monitor.timeout_s + 1)
            )
        case MonitorType.TCP:
            http = None
        case MonitorType.HTTP if monitor.http_method is HttpMethod.GET:
            http = _http(monitor)
        case _:
            return _Server(member=member)
    connection = _Connection(address=address, port=port, timeout_s=monitor.timeout_s, http=http)
    return _Server(member=member, connection=connection)


def _http(monitor: HealthMonitor) -> _Http:
    return _Http(
        path=keepalived_conf.url_path(monitor.path),
        codes=_ranges(monitor.codes),
        version=monitor.http_version,
        host=monitor.domain_name,
    )


def _ranges(codes: Iterable[int]) -> tuple[str, ...]:
    """Ascending codes as few ranges: `200`, `201` and `204` as `200-201` and `204`."""
    # In a run of numbers each is as far from its place in the order.
    runs = groupby(enumerate(codes), key=lambda item: item[1] - item[0])
    return tuple(_range([code for _, code in run]) for _, run in runs)


def _range(codes: list[int]) -> str:
    return str(codes[0]) if len(codes) == 1 else f"{codes[0]}-{codes[-1]}"
