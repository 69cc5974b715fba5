# SPDX-License-Identifier: Apache-2.0
"""What the parts of a pool ask of each other."""

from collections.abc import Collection, Iterator

from amphora_agent.balancer.faults import Fault, at
from amphora_agent.balancer.listener_checks import versions
from amphora_agent.balancer.parts import LVS_PROTOCOLS, Protocol
from amphora_agent.balancer.pool import (
    HealthMonitor,
    HttpVersion,
    MonitorType,
    PersistenceType,
    Pool,
    PoolTls,
    SessionPersistence,
)

_LVS_MONITORS = frozenset(
    {MonitorType.UDP_CONNECT, MonitorType.SCTP, MonitorType.TCP, MonitorType.HTTP}
)
_LVS_ONLY_MONITORS = frozenset({MonitorType.UDP_CONNECT, MonitorType.SCTP})
_HTTP_LISTENERS = frozenset({Protocol.HTTP, Protocol.TERMINATED_HTTPS})
_NEVER_POOLS = frozenset({Protocol.TERMINATED_HTTPS, Protocol.PROMETHEUS})


def faults(
    pool: Pool, certificates: Collection[str], listeners: Collection[Protocol]
) -> Iterator[Fault]:
    """What is wrong with a pool.

    Args:
        certificates: names of those that the document has.
        listeners: protocols of those that use the pool.
    """
    if pool.protocol in _NEVER_POOLS:
        yield "protocol", f"{pool.protocol} is for listeners"
    yield from _members(pool)
    if pool.health_monitor is not None:
        yield from at("health_monitor", _monitor(pool.health_monitor, pool.protocol))
    if pool.session_persistence is not None:
        found = _persistence(pool.session_persistence, pool.protocol, listeners)
        yield from at("session_persistence", found)
    if pool.tls is not None:
        if pool.protocol in LVS_PROTOCOLS:
            yield "tls", f"a pool of protocol {pool.protocol} has none"
        yield from at("tls", _tls(pool.tls, certificates))
    if pool.proxy_v2_options and pool.protocol is not Protocol.PROXYV2:
        yield "proxy_v2_options", "only for protocol PROXYV2"
    yield from _lvs_has_none(pool)


def _members(pool: Pool) -> Iterator[Fault]:
    taken: dict[tuple[str, int], int] = {}
    for number, member in enumerate(pool.members):
        key = member.address, member.port
        if key in taken:
            yield (
                f"members[{number}]",
                f"{member.address} port {member.port} is members[{taken[key]}] already",
            )
        taken.setdefault(key, number)
        if member.backup and pool.protocol in LVS_PROTOCOLS:
            yield f"members[{number}].backup", f"a pool of protocol {pool.protocol} has none"


def _monitor(monitor: HealthMonitor, protocol: Protocol) -> Iterator[Fault]:
    if protocol in LVS_PROTOCOLS:
        if monitor.type not in _LVS_MONITORS:
            allowed = ", ".join(sorted(_LVS_MONITORS))
            yield "type", f"for protocol {protocol} one of {allowed}, not {monitor.type}"
    elif monitor.type in _LVS_ONLY_MONITORS:
        yield "type", f"{monitor.type} is for pools of protocol UDP and SCTP"
    if monitor.timeout_s > monitor.delay_s:
        yield "timeout_s", f"it must not exceed delay_s ({monitor.delay_s})"
    if not monitor.path.startswith("/"):
        yield "url_path", f"it must begin with /, and {str(monitor.path)!r} does not"
    if monitor.domain_name is not None and monitor.http_version is not HttpVersion.HTTP_1_1:
        yield "domain_name", "it needs http_version 1.1"


def _persistence(
    persistence: SessionPersistence, protocol: Protocol, listeners: Collection[Protocol]
) -> Iterator[Fault]:
    kind = persistence.type
    if kind is not PersistenceType.SOURCE_IP:
        if protocol in LVS_PROTOCOLS:
            yield "type", f"for protocol {protocol} only SOURCE_IP"
        elif not _HTTP_LISTENERS.issuperset(listeners):
            yield "type", f"{kind} is a cookie, and not all of the pool's listeners speak HTTP"
    if kind is PersistenceType.APP_COOKIE and persistence.cookie_name is None:
        yield "cookie_name", "type APP_COOKIE needs it"
    if kind is not PersistenceType.APP_COOKIE and persistence.cookie_name is not None:
        yield "cookie_name", "only for type APP_COOKIE"
    if protocol not in LVS_PROTOCOLS or kind is not PersistenceType.SOURCE_IP:
        for field, value in (
            ("timeout_s", persistence.timeout_s),
            ("granularity", persistence.granularity),
        ):
            if value is not None:
                yield field, "only for type SOURCE_IP of pools of protocol UDP and SCTP"


def _tls(tls: PoolTls, certificates: Collection[str]) -> Iterator[Fault]:
    for field, named in (("certificate", tls.certificate), ("ca", tls.ca), ("crl", tls.crl)):
        if named is not None and named not in certificates:
            yield field, f"there is no certificate {named}"
    if tls.crl is not None and tls.ca is None:
        yield "ca", "crl needs it"
    yield from versions(tls)


def _lvs_has_none(pool: Pool) -> Iterator[Fault]:
    if pool.protocol not in LVS_PROTOCOLS:
        return
    for field, value in (
        ("slow_start_s", pool.slow_start_s),
        ("queue_limit", pool.queue_limit),
        ("queue_timeout_ms", pool.queue_timeout_ms),
    ):
        if value is not None:
            yield field, f"a pool of protocol {pool.protocol} has none"
