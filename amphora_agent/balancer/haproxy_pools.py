# SPDX-License-Identifier: Apache-2.0
"""Pools of a document as backends of haproxy: one for each listener that uses a pool."""

from collections.abc import Iterator
from dataclasses import dataclass

from amphora_agent.balancer import haproxy_members
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.haproxy_conf import line
from amphora_agent.balancer.haproxy_host import Host, limit, mode, peers_name
from amphora_agent.balancer.listener import InsertHeader, Listener
from amphora_agent.balancer.parts import Protocol
from amphora_agent.balancer.pool import (
    Algorithm,
    HealthMonitor,
    HttpVersion,
    MonitorType,
    PersistenceType,
    Pool,
)
from amphora_agent.balancer.written import Written
from amphora_agent.layout import Layout

_PROXY = frozenset({Protocol.PROXY, Protocol.PROXYV2})
_BALANCE = {
    Algorithm.ROUND_ROBIN: "roundrobin",
    Algorithm.LEAST_CONNECTIONS: "leastconn",
    Algorithm.SOURCE_IP: "source",
}
# In the order in which they are set.
_CLIENT_HEADERS = {
    InsertHeader.CLIENT_VERIFY: "%[ssl_c_verify]",
    InsertHeader.CLIENT_HAS_CERT: "%[ssl_c_used]",
    InsertHeader.CLIENT_DN: "%{+Q}[ssl_c_s_dn]",
    InsertHeader.CLIENT_CN: "%{+Q}[ssl_c_s_dn(cn)]",
    InsertHeader.ISSUER: "%{+Q}[ssl_c_i_dn]",
    InsertHeader.CLIENT_SHA1: "%{+Q}[ssl_c_sha1,hex]",
    InsertHeader.CLIENT_NOT_BEFORE: "%{+Q}[ssl_c_notbefore]",
    InsertHeader.CLIENT_NOT_AFTER: "%{+Q}[ssl_c_notafter]",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Backend:
    """A pool of a listener as the template takes it."""

    name: str
    mode: str
    reuses: bool
    balance: str
    persistence: tuple[Written, ...]
    check: tuple[Written, ...]
    headers: tuple[Written, ...]
    fullconn: int
    timeout_connect_ms: int
    timeout_server_ms: int
    timeout_queue_ms: int | None
    servers: tuple[Written, ...]


def backend(document: LoadBalancer, host: Host, listener: Listener, pool: Pool) -> Backend:
    """What the template needs of a pool that a listener uses."""
    pool_mode = _pool_mode(pool, listener)
    certificates = str(host.layout.cert_dir(document.id))
    has_tls = listener.protocol in (Protocol.TERMINATED_HTTPS, Protocol.PROMETHEUS)
    return Backend(
        name=f"{pool.id}:{listener.id}",
        mode=pool_mode,
        reuses=pool_mode == "http",
        balance=_BALANCE[pool.algorithm],
        persistence=tuple(_persistence(document, pool)),
        check=tuple(_check(pool.health_monitor, host.layout)),
        headers=tuple(_headers(listener, pool)),
        fullconn=limit(listener, host),
        timeout_connect_ms=listener.timeout_member_connect_ms,
        timeout_server_ms=listener.timeout_member_data_ms,
        timeout_queue_ms=pool.queue_timeout_ms,
        servers=tuple(haproxy_members.lines(pool, certificates, listener_has_tls=has_tls)),
    )


def _pool_mode(pool: Pool, listener: Listener) -> str:
    if pool.protocol in _PROXY:
        return mode(listener)
    return "http" if pool.protocol is Protocol.HTTP else "tcp"


def _persistence(document: LoadBalancer, pool: Pool) -> Iterator[Written]:
    persistence = pool.session_persistence
    if persistence is None:
        return
    if persistence.type is PersistenceType.HTTP_COOKIE:
        yield line("cookie", "SRV", "insert", "indirect", "nocache")
        return
    peers = peers_name(document)
    shared = ("peers", peers) if peers else ()
    size = ("size", document.tuning.stick_table_size)
    if persistence.type is PersistenceType.SOURCE_IP:
        yield line("stick-table", "type", "ipv6", *size, *shared)
        yield line("stick", "on", "src")
        return
    name = persistence.cookie_name
    yield line("stick-table", "type", "string", "len", 64, *size, *shared)
    yield line("stick", "store-response", f"res.cook({name})")
    yield line("stick", "match", f"req.cook({name})")


def _check(monitor: HealthMonitor | None, layout: Layout) -> Iterator[Written]:
    if monitor is None or not monitor.enabled:
        return
    yield line("load-server-state-from-file", "global")
    yield line("timeout", "check", f"{monitor.timeout_s}s")
    if monitor.type in (MonitorType.HTTP, MonitorType.HTTPS):
        version = (f"HTTP/{monitor.http_version}",) if monitor.http_version else ()
        request = (monitor.http_method, monitor.path, *version)
        yield line("option", "httpchk", *request)
        if monitor.http_version is HttpVersion.HTTP_1_1 and monitor.domain_name is not None:
            yield line("http-check", "send", "hdr", "Host", monitor.domain_name)
        codes = "|".join(map(str, monitor.codes))
        yield line("http-check", "expect", "rstatus", codes)
    if monitor.type is MonitorType.PING:
        yield line("option", "external-check")
        yield line("external-check", "command", str(layout.ping_wrapper))


def _headers(listener: Listener, pool: Pool) -> Iterator[Written]:
    wanted = frozenset(listener.insert_headers)
    if pool.protocol is Protocol.HTTP:
        if InsertHeader.FORWARDED_FOR in wanted:
            yield line("option", "forwardfor")
        if InsertHeader.FORWARDED_PORT in wanted:
            yield _header(InsertHeader.FORWARDED_PORT, "%[dst_port]")
    if InsertHeader.FORWARDED_PROTO in wanted and listener.protocol is not Protocol.PROMETHEUS:
        scheme = "https" if listener.protocol is Protocol.TERMINATED_HTTPS else "http"
        yield _header(InsertHeader.FORWARDED_PROTO, scheme)
    if listener.protocol is Protocol.TERMINATED_HTTPS:
        for header, value in _CLIENT_HEADERS.items():
            if header in wanted:
                yield _header(header, value)


def _header(name: InsertHeader, value: str) -> Written:
    return line("http-request", "set-header", name, value)
