# SPDX-License-Identifier: Apache-2.0
"""A small load balancer, and the lines of each section of its haproxy.cfg."""

import json
from typing import Any

from amphora_agent import haproxycfg
from amphora_agent.balancer import checks, haproxy
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.haproxy import Host
from amphora_agent.layout import Layout

Part = dict[str, Any]

LB = "0b0c0d0e-0000-4000-8000-000000000001"
LISTENER = "0b0c0d0e-0000-4000-8000-000000000002"
POOL = "0b0c0d0e-0000-4000-8000-000000000003"
MEMBER = "0b0c0d0e-0000-4000-8000-000000000004"
POLICY = "0b0c0d0e-0000-4000-8000-000000000005"
RULE, RULE_2 = "0b0c0d0e-0000-4000-8000-000000000006", "0b0c0d0e-0000-4000-8000-000000000007"
ONE, TWO = "0b0c0d0e-0000-4000-8000-000000000008", "0b0c0d0e-0000-4000-8000-000000000009"
OTHER = "0b0c0d0e-0000-4000-8000-00000000000a"

GLOBAL, DEFAULTS = ("global",), ("defaults",)
FRONTEND, BACKEND = ("frontend", LISTENER), ("backend", f"{POOL}:{LISTENER}")
CERTS = f"/var/lib/octavia/certs/{LB}"
PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
CA = f"ca-file {CERTS}/ca.pem"
TLS: Part = {"protocol": "TERMINATED_HTTPS", "tls": {"certificates": ["one"]}}


def balancer(
    *,
    listener: Part | None = None,
    pool: Part | None = None,
    member: Part | None = None,
    **top: Any,
) -> Part:
    """A load balancer with one listener of HTTP and one member, and what is asked for."""
    members = [{"id": MEMBER, "address": "203.0.113.1", "port": 8080} | (member or {})]
    return {
        "id": LB,
        "vip": {"address": "192.0.2.10", "subnet": "192.0.2.0/24"},
        "listeners": [
            {"id": LISTENER, "protocol": "HTTP", "port": 80, "default_pool": POOL}
            | (listener or {})
        ],
        "pools": [{"id": POOL, "protocol": "HTTP", "members": members} | (pool or {})],
        "certificates": [{"name": name, "pem": PEM} for name in ("one", "two", "ca", "crl")],
    } | top


def decode(part: Part) -> LoadBalancer:
    """The document of a part; it is a valid one."""
    return checks.decode(json.dumps(part).encode())


def tls(**fields: Any) -> Part:
    """A listener that terminates TLS."""
    return TLS | {"tls": TLS["tls"] | fields}


def exporter() -> Part:
    """A load balancer with a PROMETHEUS listener alone."""
    return balancer(listener={"protocol": "PROMETHEUS", "default_pool": None})


def policy(action: Part, *rules: Part) -> Part:
    """A listener with one policy; a rule of a path where none is given."""
    named = [
        {"id": rule_id, "type": "PATH", "value": "/x"} | rule
        for rule_id, rule in zip((RULE, RULE_2), rules or ({},), strict=False)
    ]
    return {"policies": [{"id": POLICY, "rules": named} | action]}


def sections(part: Part, **host: Any) -> dict[tuple[str, ...], list[str]]:
    """By what opens it, the lines of each section, without quotes."""
    text = haproxy.config(decode(part), Host(layout=Layout(), **host))
    return {
        section.head.words: [" ".join(each.words) for each in section.body]
        for section in haproxycfg.sections(text)
        if section.head is not None
    }


def beginning(lines: list[str], *keywords: str) -> list[str]:
    """Those that begin with one of some keywords, in order."""
    return [line for line in lines if line.startswith(keywords)]


def options(part: Part, keyword: str = "server") -> str:
    """What follows the address of the only server or bind."""
    head = BACKEND if keyword == "server" else FRONTEND
    [line] = beginning(sections(part)[head], f"{keyword} ")
    return line.split(" ", 3 if keyword == "server" else 2)[-1]


def pair(**fields: Any) -> Part:
    """A pair of amphorae."""
    amphorae = [
        {"id": ONE, "vrrp_ip": "192.0.2.11", "role": "MASTER"},
        {"id": TWO, "vrrp_ip": "192.0.2.12", "role": "BACKUP"},
    ]
    asked: Part = {"topology": "ACTIVE_STANDBY", "vrrp": {}, "amphorae": amphorae}
    return balancer(**asked | fields)
