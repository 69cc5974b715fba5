# SPDX-License-Identifier: Apache-2.0
"""What a haproxy.cfg depends on besides the document."""

from dataclasses import dataclass

from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.listener import Listener
from amphora_agent.balancer.parts import Protocol
from amphora_agent.layout import Layout
from amphora_agent.topology import Topology

_HTTP = frozenset({Protocol.HTTP, Protocol.TERMINATED_HTTPS, Protocol.PROMETHEUS})


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


def limit(listener: Listener, host: Host) -> int:
    """How many connections a listener takes at once."""
    return listener.connection_limit if listener.connection_limit > 0 else host.connection_limit


def mode(listener: Listener) -> str:
    """What haproxy calls its protocol."""
    return "http" if listener.protocol in _HTTP else "tcp"


def peers_name(document: LoadBalancer) -> str | None:
    """The section in which a pair shares its tables; None for a single amphora."""
    if document.topology is not Topology.ACTIVE_STANDBY:
        return None
    return f"{document.id.replace('-', '')}_peers"
