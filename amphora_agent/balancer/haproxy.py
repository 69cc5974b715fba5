# SPDX-License-Identifier: Apache-2.0
"""A document as the haproxy.cfg of an amphora, with the certificate lists that it names.

What it means is what Octavia's controllers render of the same load balancer; where it differs,
docs/rendering.md says why. For HAProxy 2.4 and later.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from amphora_agent import render
from amphora_agent.balancer import (
    haproxy_conf,
    haproxy_members,
    haproxy_policies,
    tls_options,
)
from amphora_agent.balancer.document import (
    Algorithm,
    ClientAuthentication,
    HealthMonitor,
    Hsts,
    HttpVersion,
    InsertHeader,
    Listener,
    ListenerTls,
    LoadBalancer,
    MonitorType,
    PersistenceType,
    Pool,
    Protocol,
    RateLimit,
)
from amphora_agent.balancer.haproxy_conf import Written, line
from amphora_agent.layout import Layout
from amphora_agent.models import Topology

# Octavia's constants.py, HAPROXY_MAX_MAXCONN.
_MAXCONN_MAX = 1_000_000
# What a connection takes of memory, and what a cache of TLS sessions has at least to be worth a
# setting (Octavia's haproxy jinja_cfg.py).
_CONNECTION_KB = 32
_TLS_CACHE_MIN_KB = 5000
_TLS_SESSIONS_PER_KB = 4
# haproxy takes 64 words in a line.
_NETWORKS_PER_LINE = 50
_RATE_CLIENTS = 100_000

_LVS = frozenset({Protocol.UDP, Protocol.SCTP})
_HTTP = frozenset({Protocol.HTTP, Protocol.TERMINATED_HTTPS, Protocol.PROMETHEUS})
_PROXY = frozenset({Protocol.PROXY, Protocol.PROXYV2})
_BALANCE = {
    Algorithm.ROUND_ROBIN: "roundrobin",
    Algorithm.LEAST_CONNECTIONS: "leastconn",
    Algorithm.SOURCE_IP: "source",
}
_VERIFY = {
    ClientAuthentication.NONE: "none",
    ClientAuthentication.OPTIONAL: "optional",
    ClientAuthentication.MANDATORY: "required",
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
# Octavia's user_log_format; requests and their status are there with HTTP only.
_LOG_FORMAT = (
    "{project} {balancer} %f %ci %cp %t {request} %B %U %[ssl_c_verify] %{{+Q}}[ssl_c_s_dn] %b %s "
    "%Tt %tsc"
)
_REQUEST = {True: "%{+Q}r %ST", False: "- -"}
# Nothing that an attacker could choose beside a secret (BREACH) is served with these types alone,
# but it is for who asks for compression to know.
_COMPRESSED = (
    *("text/html", "text/plain", "text/css", "text/javascript", "text/xml"),
    *("application/javascript", "application/json", "application/xml", "image/svg+xml"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Host:
    """What the machine says.

    Attributes:
        processors: for haproxy alone, one less, when `is_tuned`.
        is_tuned: the profile of tuned keeps the others free for haproxy.
        memory_kb: free, or used for buffers and caches.
        user_facility, admin_facility: numbers of local facilities of syslog.
        connection_limit: of listeners that have none.
    """

    layout: Layout
    processors: int = 1
    is_tuned: bool = False
    memory_kb: int = 0
    user_facility: int = 0
    admin_facility: int = 1
    connection_limit: int = 50_000


@dataclass(frozen=True, kw_only=True, slots=True)
class _Frontend:
    """A listener as the template takes it; the names are those of haproxy's directives."""

    name: str
    maxconn: int
    binds: tuple[Written, ...]
    mode: str
    hsts: str | None
    is_tls: bool
    policies: tuple[Written, ...]
    limits: tuple[Written, ...]
    compressed: Written | None
    default_backend: str | None
    timeout_client_ms: int
    inspect_delay_ms: int
    log_format: str | None


@dataclass(frozen=True, kw_only=True, slots=True)
class _Backend:
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


def config(document: LoadBalancer, host: Host) -> str:
    """The text of haproxy.cfg.

    UDP and SCTP listeners are not in it.
    """
    listeners = [listener for listener in document.listeners if listener.protocol not in _LVS]
    served = [listener for listener in listeners if listener.enabled]
    pools: dict[str, Pool] = {pool.id: pool for pool in document.pools}
    peers = _peers_name(document)
    maxconn = _maxconn(served, host)
    threads = host.processors - 1 if host.is_tuned and host.processors > 1 else None
    layout, lb_id = host.layout, document.id
    return haproxy_conf.text(
        "haproxy.cfg.j2",
        user_log=line(f"local{host.user_facility}"),
        admin_log=line(f"local{host.admin_facility}"),
        stats_socket=str(layout.stats_socket(lb_id)),
        state_file=str(layout.server_state(lb_id)),
        maxconn=maxconn,
        tls_cache=_tls_cache(listeners, host, maxconn),
        threads=threads,
        pings=any(_pings(listener, pools) for listener in served),
        tuning=document.tuning,
        peers=peers,
        amphorae=[
            line("peer", render.peer_name(amphora.id), f"{amphora.vrrp_ip}:1025")
            for amphora in document.amphorae
        ],
        has_exporter=any(each.protocol is Protocol.PROMETHEUS for each in listeners),
        proxies=list(_proxies(document, host, served, pools)) if document.enabled else [],
    )


def certificate_lists(document: LoadBalancer, layout: Layout) -> dict[str, bytes]:
    """By file name, the list of each listener that terminates TLS: paths, the default one first."""
    directory = layout.cert_dir(document.id)
    return {
        f"{listener.id}.pem": "".join(
            f"{directory}/{name}.pem\n" for name in listener.tls.certificates
        ).encode()
        for listener in document.listeners
        if listener.tls is not None
    }


def _proxies(
    document: LoadBalancer, host: Host, served: list[Listener], pools: dict[str, Pool]
) -> Iterator[tuple[_Frontend, list[_Backend]]]:
    for listener in served:
        used = [pools[pool_id] for pool_id in listener.pool_ids]
        backends = [_backend(document, host, listener, pool) for pool in used if pool.enabled]
        yield _frontend(document, host, listener, pools), backends


def _maxconn(served: list[Listener], host: Host) -> int:
    total = sum(_limit(listener, host) for listener in served)
    return total if 0 < total < _MAXCONN_MAX else _MAXCONN_MAX


def _limit(listener: Listener, host: Host) -> int:
    return listener.connection_limit if listener.connection_limit > 0 else host.connection_limit


def _tls_cache(listeners: list[Listener], host: Host, maxconn: int) -> int | None:
    """Sessions that the cache of TLS holds: two fifths of the memory that connections leave."""
    if not any(each.protocol is Protocol.TERMINATED_HTTPS for each in listeners):
        return None
    size_kb = (host.memory_kb - _CONNECTION_KB * maxconn) * 2 // 5
    return size_kb * _TLS_SESSIONS_PER_KB if size_kb > _TLS_CACHE_MIN_KB else None


def _pings(listener: Listener, pools: dict[str, Pool]) -> bool:
    return any(
        pools[pool_id].enabled and _is_pinged(pools[pool_id]) for pool_id in listener.pool_ids
    )


def _is_pinged(pool: Pool) -> bool:
    monitor = pool.health_monitor
    return monitor is not None and monitor.enabled and monitor.type is MonitorType.PING


def _peers_name(document: LoadBalancer) -> str | None:
    if document.topology is not Topology.ACTIVE_STANDBY:
        return None
    return f"{document.id.replace('-', '')}_peers"


# Listeners


def _frontend(
    document: LoadBalancer, host: Host, listener: Listener, pools: dict[str, Pool]
) -> _Frontend:
    default = pools.get(listener.default_pool or "")
    backend = f"{default.id}:{listener.id}" if default is not None and default.enabled else None
    if listener.protocol is Protocol.PROMETHEUS:
        backend = "prometheus-exporter-internal"
    is_http = listener.protocol in _HTTP
    return _Frontend(
        name=listener.id,
        maxconn=_limit(listener, host),
        binds=tuple(_binds(document, host.layout, listener)),
        mode=_listener_mode(listener),
        is_tls=listener.protocol is Protocol.TERMINATED_HTTPS,
        hsts=_hsts(listener.tls.hsts) if listener.tls and listener.tls.hsts else None,
        policies=tuple(haproxy_policies.lines(listener, pools)),
        limits=tuple(_limits(listener)),
        compressed=line(*_COMPRESSED) if listener.compression else None,
        default_backend=backend,
        timeout_client_ms=listener.timeout_client_data_ms,
        inspect_delay_ms=listener.timeout_tcp_inspect_ms,
        log_format=_LOG_FORMAT.format(
            project=document.project_id or "-", balancer=document.id, request=_REQUEST[is_http]
        )
        if document.tuning.connection_logging
        else None,
    )


def _binds(document: LoadBalancer, layout: Layout, listener: Listener) -> Iterator[Written]:
    options: list[str] = []
    if listener.accept_proxy:
        options.append("accept-proxy")
    if listener.tls is not None:
        options += _bind_tls(listener.tls, str(layout.cert_dir(document.id)), listener.id)
    tail = line(*options)
    for vip in document.vips:
        bind = line("bind", f"{vip.address}:{listener.port}")
        yield Written(f"{bind} {tail}") if options else bind


def _bind_tls(tls: ListenerTls, directory: str, listener_id: str) -> Iterator[str]:
    yield from ("ssl", "crt-list", f"{directory}/{listener_id}.pem")
    if tls.client_ca is not None:
        yield from ("ca-file", f"{directory}/{tls.client_ca}.pem")
        yield from ("verify", _VERIFY[tls.client_authentication])
        if tls.client_crl is not None:
            yield from ("crl-file", f"{directory}/{tls.client_crl}.pem")
    yield from tls_options.ciphers_and_versions(tls)
    if offered := tls_options.alpn(tls):
        yield from ("alpn", offered)


def _listener_mode(listener: Listener) -> str:
    return "http" if listener.protocol in _HTTP else "tcp"


def _hsts(hsts: Hsts) -> str:
    parts = [f"max-age={hsts.max_age_s};"]
    parts += [" includeSubDomains;"] if hsts.include_subdomains else []
    parts += [" preload;"] if hsts.preload else []
    return "".join(parts)


def _limits(listener: Listener) -> Iterator[Written]:
    """Who may connect, and how often."""
    networks = listener.allowed_cidrs
    for start in range(0, len(networks), _NETWORKS_PER_LINE):
        yield line("acl", "allowed", "src", *networks[start : start + _NETWORKS_PER_LINE])
    if networks:
        yield line("tcp-request", "connection", "reject", "unless", "allowed")
    if listener.rate_limit is not None:
        yield from _rates(listener.rate_limit)


def _rates(limit: RateLimit) -> Iterator[Written]:
    """Clients are counted by address, and with the PROXY protocol by the one that it tells."""
    counted = (
        ("conn_cur", "conn_cur", limit.connections),
        ("conn_rate(10s)", "conn_rate", limit.connections_per_10s),
        ("http_req_rate(10s)", "http_req_rate", limit.requests_per_10s),
    )
    stored = ",".join(name for name, _, most in counted if most is not None)
    if not stored:
        return
    size = ("size", _RATE_CLIENTS, "expire", "10s")
    yield line("stick-table", "type", "ipv6", *size, "store", stored)
    yield line("tcp-request", "session", "track-sc0", "src")
    for _, counter, most in counted:
        if most is None:
            continue
        condition = ("if", "{", f"sc0_{counter}", "gt", most, "}")
        if counter == "http_req_rate":
            yield line("http-request", "deny", "deny_status", 429, *condition)
        else:
            yield line("tcp-request", "session", "reject", *condition)


# Pools


def _backend(document: LoadBalancer, host: Host, listener: Listener, pool: Pool) -> _Backend:
    mode = _pool_mode(pool, listener)
    certificates = str(host.layout.cert_dir(document.id))
    has_tls = listener.protocol in (Protocol.TERMINATED_HTTPS, Protocol.PROMETHEUS)
    return _Backend(
        name=f"{pool.id}:{listener.id}",
        mode=mode,
        reuses=mode == "http",
        balance=_BALANCE[pool.algorithm],
        persistence=tuple(_persistence(document, pool)),
        check=tuple(_check(pool.health_monitor, host.layout)),
        headers=tuple(_headers(listener, pool)),
        fullconn=_limit(listener, host),
        timeout_connect_ms=listener.timeout_member_connect_ms,
        timeout_server_ms=listener.timeout_member_data_ms,
        timeout_queue_ms=pool.queue_timeout_ms,
        servers=tuple(haproxy_members.lines(pool, certificates, listener_has_tls=has_tls)),
    )


def _pool_mode(pool: Pool, listener: Listener) -> str:
    if pool.protocol in _PROXY:
        return _listener_mode(listener)
    return "http" if pool.protocol is Protocol.HTTP else "tcp"


def _persistence(document: LoadBalancer, pool: Pool) -> Iterator[Written]:
    persistence = pool.session_persistence
    if persistence is None:
        return
    if persistence.type is PersistenceType.HTTP_COOKIE:
        yield line("cookie", "SRV", "insert", "indirect", "nocache")
        return
    peers = _peers_name(document)
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
        request = (monitor.http_method, monitor.url_path or "/", *version)
        yield line("option", "httpchk", *request)
        if monitor.http_version is HttpVersion.HTTP_1_1 and monitor.domain_name is not None:
            yield line("http-check", "send", "hdr", "Host", monitor.domain_name)
        codes = "|".join(expected_codes(monitor.expected_codes))
        yield line("http-check", "expect", "rstatus", codes)
    if monitor.type is MonitorType.PING:
        yield line("option", "external-check")
        yield line("external-check", "command", str(layout.ping_wrapper))


def expected_codes(text: str) -> list[str]:
    """Every code that `200`, `200,202` or `200-204` stands for, in ascending order."""
    codes: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        codes |= set(range(int(first), int(last or first) + 1))
    return [str(code) for code in sorted(codes)]


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
