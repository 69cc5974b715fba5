# SPDX-License-Identifier: Apache-2.0
"""Members of a pool as server lines of haproxy."""

from collections.abc import Iterator

from amphora_agent.balancer import tls_options
from amphora_agent.balancer.haproxy_conf import line
from amphora_agent.balancer.parts import Protocol
from amphora_agent.balancer.pool import (
    HealthMonitor,
    Member,
    MonitorType,
    PersistenceType,
    Pool,
    PoolTls,
)
from amphora_agent.balancer.written import Written

Words = tuple[str | int, ...]


def lines(pool: Pool, certificates: str, *, listener_has_tls: bool) -> Iterator[Written]:
    """A line for each member.

    Args:
        certificates: the directory of the load balancer's certificates.
        listener_has_tls: clients of the listener speak TLS with haproxy.
    """
    monitor = pool.health_monitor
    check = _check(monitor, pool) if monitor is not None and monitor.enabled else None
    proxy = _proxy(pool, listener_has_tls=listener_has_tls)
    common = (*_limits(pool), *_tls(pool.tls, certificates))
    has_cookie = (
        pool.session_persistence is not None
        and pool.session_persistence.type is PersistenceType.HTTP_COOKIE
    )
    for member in pool.members:
        words: list[str | int] = ["server", member.id, f"{member.address}:{member.port}"]
        words += ["weight", member.weight]
        if check is not None:
            words += [check, *_monitored(member)]
        if has_cookie:
            words += ["cookie", member.id]
        yield line(*words, *proxy, *_own(member), *common)


def _check(monitor: HealthMonitor, pool: Pool) -> Written:
    words: list[str | int] = ["check"]
    if monitor.type is MonitorType.HTTPS:
        words += ["check-ssl", "verify", "none"]
    if pool.tls is not None and (offered := tls_options.alpn(pool.tls)):
        words += ["check-alpn", offered]
    words += ["inter", f"{monitor.delay_s}s"]
    words += ["fall", monitor.fall_threshold, "rise", monitor.rise_threshold]
    return line(*words)


def _monitored(member: Member) -> Iterator[str | int]:
    if member.monitor_address is not None:
        yield from ("addr", member.monitor_address)
    if member.monitor_port is not None:
        yield from ("port", member.monitor_port)


def _proxy(pool: Pool, *, listener_has_tls: bool) -> Words:
    if pool.protocol is Protocol.PROXY:
        return ("send-proxy",)
    if pool.protocol is not Protocol.PROXYV2:
        return ()
    if pool.proxy_v2_options:
        return ("send-proxy-v2", "proxy-v2-options", ",".join(pool.proxy_v2_options))
    return ("send-proxy-v2-ssl-cn",) if listener_has_tls else ("send-proxy-v2",)


def _own(member: Member) -> Iterator[str | int]:
    if member.backup:
        yield "backup"
    if not member.enabled:
        yield "disabled"
    if member.connection_limit is not None:
        yield from ("maxconn", member.connection_limit)


def _limits(pool: Pool) -> Iterator[str | int]:
    if pool.queue_limit is not None:
        yield from ("maxqueue", pool.queue_limit)
    if pool.slow_start_s is not None:
        yield from ("slowstart", f"{pool.slow_start_s}s")


def _tls(tls: PoolTls | None, certificates: str) -> Iterator[str]:
    if tls is None:
        return
    yield "ssl"
    if tls.certificate is not None:
        yield from ("crt", f"{certificates}/{tls.certificate}.pem")
    if tls.ca is None:
        yield from ("verify", "none")
    else:
        yield from ("ca-file", f"{certificates}/{tls.ca}.pem")
        if tls.crl is not None:
            yield from ("crl-file", f"{certificates}/{tls.crl}.pem")
        yield from ("verify", "required")
    yield from ("sni", "ssl_fc_sni")
    yield from tls_options.ciphers_and_versions(tls)
    if offered := tls_options.alpn(tls):
        yield from ("alpn", offered)
