# SPDX-License-Identifier: Apache-2.0
"""Documents by hand for the tests of what keepalived is told, and looks at what it is told."""

from amphora_agent.balancer import lvs
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.layout import Layout
from tests.support import keepalived_parser
from tests.support.keepalived_documents import Part, decode
from tests.support.keepalived_parser import Node

LB = "0b0c0d0e-0000-4000-8000-000000000001"
ONE, TWO = "0b0c0d0e-0000-4000-8000-000000000002", "0b0c0d0e-0000-4000-8000-000000000003"
LISTENER = "0b0c0d0e-0000-4000-8000-000000000004"
POOL = "0b0c0d0e-0000-4000-8000-000000000005"
MEMBER, MEMBER_6 = "0b0c0d0e-0000-4000-8000-000000000006", "0b0c0d0e-0000-4000-8000-000000000007"


def pair(**vrrp: object) -> Part:
    """A pair with a VIP of each family."""
    return {
        "id": LB,
        "vip": {
            "address": "198.51.100.9",
            "subnet": "198.51.100.0/24",
            "gateway": "198.51.100.1",
            "host_routes": [{"destination": "203.0.113.0/24", "nexthop": "198.51.100.2"}],
        },
        "additional_vips": [
            {"address": "2001:db8::9", "subnet": "2001:db8::/64"},
            {"address": "198.51.100.10", "subnet": "198.51.100.0/24"},
        ],
        "topology": "ACTIVE_STANDBY",
        "amphorae": [
            {"id": ONE, "vrrp_ip": "198.51.100.4", "role": "MASTER"},
            {"id": TWO, "vrrp_ip": "198.51.100.5", "role": "BACKUP"},
        ],
        "vrrp": {"authentication": "1a2b3c4"} | vrrp,
        "listeners": [{"id": LISTENER, "protocol": "HTTP", "port": 80}],
    }


def lines(node: Node, *block: str) -> list[str]:
    """The lines of a block in a block."""
    [found] = node.find(*block)
    return [" ".join(child.words) for child in found.children or ()]


def balancer(
    *, pool: Part | None = None, listener: Part | None = None, **monitor: object
) -> LoadBalancer:
    """A UDP listener on VIPs of both families, with a member of each."""
    made: Part = {
        "id": POOL,
        "protocol": "UDP",
        "members": [
            {"id": MEMBER, "address": "192.0.2.7", "port": 53},
            {"id": MEMBER_6, "address": "2001:db8:1::7", "port": 53},
        ],
    }
    if monitor:
        made["health_monitor"] = monitor
    served: Part = {"id": LISTENER, "protocol": "UDP", "port": 5353, "default_pool": POOL}
    part = pair() | {
        "listeners": [served | (listener or {})],
        "pools": [made | (pool or {})],
    }
    return decode(part)


def udp(document: LoadBalancer) -> Node:
    """The file of the first listener as the block of a node without words."""
    text = lvs.config(document, document.listeners[0], Layout())
    return Node(words=(), children=keepalived_parser.parse(text))
