# SPDX-License-Identifier: Apache-2.0
"""A document as the haproxy.cfg of an amphora, with the certificate lists that it names.

What it means is what Octavia's controllers render of the same load balancer; where it differs,
docs/rendering.md says why. For HAProxy 2.4 and later.
"""

from collections.abc import Iterator

from amphora_agent import render
from amphora_agent.balancer import haproxy_conf, haproxy_listeners, haproxy_pools
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.haproxy_conf import line
from amphora_agent.balancer.haproxy_host import Host, limit, peers_name
from amphora_agent.balancer.haproxy_listeners import Frontend
from amphora_agent.balancer.haproxy_pools import Backend
from amphora_agent.balancer.listener import Listener
from amphora_agent.balancer.parts import LVS_PROTOCOLS, Protocol
from amphora_agent.balancer.pool import MonitorType, Pool
from amphora_agent.layout import Layout

__all__ = ["Host", "certificate_lists", "config"]

# Octavia's constants.py, HAPROXY_MAX_MAXCONN.
_MAXCONN_MAX = 1_000_000
# What a connection takes of memory, and what a cache of TLS sessions has at least to be worth a
# setting (Octavia's haproxy jinja_cfg.py).
_CONNECTION_KB = 32
_TLS_CACHE_MIN_KB = 5000
_TLS_SESSIONS_PER_KB = 4


def config(document: LoadBalancer, host: Host) -> str:
    """The text of haproxy.cfg.

    UDP and SCTP listeners are not in it.
    """
    listeners = [
        listener for listener in document.listeners if listener.protocol not in LVS_PROTOCOLS
    ]
    served = [listener for listener in listeners if listener.enabled]
    pools: dict[str, Pool] = {pool.id: pool for pool in document.pools}
    peers = peers_name(document)
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
) -> Iterator[tuple[Frontend, list[Backend]]]:
    for listener in served:
        used = [pools[pool_id] for pool_id in listener.pool_ids]
        backends = [
            haproxy_pools.backend(document, host, listener, pool) for pool in used if pool.enabled
        ]
        yield haproxy_listeners.frontend(document, host, listener, pools), backends


def _maxconn(served: list[Listener], host: Host) -> int:
    total = sum(limit(listener, host) for listener in served)
    return total if 0 < total < _MAXCONN_MAX else _MAXCONN_MAX


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
