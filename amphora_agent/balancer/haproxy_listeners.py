# SPDX-License-Identifier: Apache-2.0
"""Listeners of a document as frontends of haproxy."""

from collections.abc import Iterator
from dataclasses import dataclass

from amphora_agent.balancer import haproxy_policies, tls_options
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.haproxy_conf import line
from amphora_agent.balancer.haproxy_host import Host, limit, mode
from amphora_agent.balancer.listener import (
    ClientAuthentication,
    Hsts,
    Listener,
    ListenerTls,
    RateLimit,
)
from amphora_agent.balancer.parts import Protocol
from amphora_agent.balancer.pool import Pool
from amphora_agent.balancer.written import Written
from amphora_agent.layout import Layout

# haproxy takes 64 words in a line.
_NETWORKS_PER_LINE = 50
_RATE_CLIENTS = 100_000

_VERIFY = {
    ClientAuthentication.NONE: "none",
    ClientAuthentication.OPTIONAL: "optional",
    ClientAuthentication.MANDATORY: "required",
}
# Octavia's user_log_format; requests and their status are there with HTTP only.
_LOG_FORMAT = (
    "{project} {balancer} %f %ci %cp %t {request} %B %U %[ssl_c_verify] %{{+Q}}[ssl_c_s_dn] %b %s "
    "%Tt %tsc"
)
_REQUEST = {True: "%{+Q}r %ST", False: "- -"}
# Text; pictures and archives are compressed already.
_COMPRESSED = (
    *("text/html", "text/plain", "text/css", "text/javascript", "text/xml"),
    *("application/javascript", "application/json", "application/xml", "image/svg+xml"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Frontend:
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


def frontend(
    document: LoadBalancer, host: Host, listener: Listener, pools: dict[str, Pool]
) -> Frontend:
    """What the template needs of a listener."""
    default = pools.get(listener.default_pool or "")
    backend = f"{default.id}:{listener.id}" if default is not None and default.enabled else None
    if listener.protocol is Protocol.PROMETHEUS:
        backend = "prometheus-exporter-internal"
    return Frontend(
        name=listener.id,
        maxconn=limit(listener, host),
        binds=tuple(_binds(document, host.layout, listener)),
        mode=mode(listener),
        is_tls=listener.protocol is Protocol.TERMINATED_HTTPS,
        hsts=_hsts(listener.tls.hsts) if listener.tls and listener.tls.hsts else None,
        policies=tuple(haproxy_policies.lines(listener, pools)),
        limits=tuple(_limits(listener)),
        compressed=line(*_COMPRESSED) if listener.compression else None,
        default_backend=backend,
        timeout_client_ms=listener.timeout_client_data_ms,
        inspect_delay_ms=listener.timeout_tcp_inspect_ms,
        log_format=_log_format(document, listener) if document.tuning.connection_logging else None,
    )


def _log_format(document: LoadBalancer, listener: Listener) -> str:
    tells_requests = listener.protocol in (Protocol.HTTP, Protocol.TERMINATED_HTTPS)
    return _LOG_FORMAT.format(
        project=document.project_id or "-",
        balancer=document.id,
        request=_REQUEST[tells_requests],
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
