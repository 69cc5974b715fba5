# SPDX-License-Identifier: Apache-2.0
"""Configurations like those that Octavia renders."""

from collections.abc import Mapping
from pathlib import Path


def listener_config(base: Path, lb_id: str, *, vip: str, ports: Mapping[str, int]) -> bytes:
    """One HTTP listener on port 80 with a pool; ids of listener and load balancer are the same.

    Args:
        ports: of the members on loopback, by their names.
    """
    servers = "".join(
        f"    server {name} 127.0.0.1:{port} weight 1\n" for name, port in ports.items()
    )
    return f"""# Configuration for loadbalancer {lb_id}
global
    daemon
    user nobody
    stats socket {base}/{lb_id}.sock mode 0666 level user
    maxconn 1000
    server-state-file {base}/{lb_id}/servers-state

defaults
    mode http
    retries 3
    option redispatch
    timeout connect 2s
    timeout client 10s
    timeout server 10s

frontend {lb_id}
    mode http
    bind {vip}:80
    default_backend pool:{lb_id}

backend pool:{lb_id}
    mode http
    balance roundrobin
{servers}""".encode()
