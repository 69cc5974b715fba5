# SPDX-License-Identifier: Apache-2.0
"""haproxy.cfg of a load balancer with many listeners, in the shape that Octavia renders."""

import uuid

_NAMESPACE = uuid.UUID("b5a3c1f0-0000-4000-8000-000000000000")
_FIRST_PORT = 10_000


def load_balancer(base: str, lb_id: str, *, listeners: int, revision: int) -> bytes:
    """HTTP listeners with a pool, two members and a health monitor each.

    Args:
        revision: makes the text differ from the last one, so that nobody can skip the check.
    """
    head = f"""# Configuration for loadbalancer {lb_id}, revision {revision}
global
    daemon
    user nobody
    log /run/rsyslog/octavia/log local0
    log /run/rsyslog/octavia/log local1 notice
    stats socket {base}/{lb_id}.sock mode 0666 level user
    server-state-file {base}/{lb_id}/servers-state
    maxconn 50000

defaults
    log global
    retries 3
    option redispatch
    option splice-request
    option splice-response
    option http-keep-alive
"""
    return (head + "".join(_listener(number) for number in range(listeners))).encode()


def _listener(number: int) -> str:
    listener = uuid.uuid5(_NAMESPACE, f"listener {number}")
    pool = f"{uuid.uuid5(_NAMESPACE, f'pool {number}')}:{listener}"
    members = "".join(
        f"    server {uuid.uuid5(_NAMESPACE, f'member {number} {host}')} 192.0.2.{host}:80"
        " weight 1 check inter 5s fall 3 rise 3\n"
        for host in (10, 11)
    )
    return f"""
frontend {listener}
    maxconn 50000
    bind 198.51.100.10:{_FIRST_PORT + number}
    mode http
    default_backend {pool}
    timeout client 50000
    option httplog

backend {pool}
    mode http
    balance roundrobin
    timeout check 10s
    option httpchk GET / HTTP/1.0\\r\\n
    http-check expect rstatus 200
    fullconn 50000
    option allbackups
    timeout connect 5000
    timeout server 50000
{members}"""
