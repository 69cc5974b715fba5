# SPDX-License-Identifier: Apache-2.0
"""A document as the allow-list of a VIP's NIC that Neutron's firewall does not guard (SR-IOV)."""

from collections.abc import Iterator
from ipaddress import ip_network

from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.parts import Protocol
from amphora_agent.models import FirewallRule, RuleProtocol
from amphora_agent.topology import Topology

_PROTOCOLS = {Protocol.UDP: RuleProtocol.UDP, Protocol.SCTP: RuleProtocol.SCTP}
# Number of the IP protocol (IANA).
_VRRP = 112
# Where haproxies of a pair tell each other of persistent sessions.
_HAPROXY_PEERS = 1025
# Control packets of one hop (RFC 5881).
_BFD = 3784


def rules(document: LoadBalancer, amphora_id: str) -> tuple[FirewallRule, ...]:
    """What may come in, on the amphora named; nothing of it asks whether the NIC needs a firewall.

    Clients of every listener, disabled ones too, and what the other amphorae of a pair send.
    """
    return (*_clients(document), *_peers(document, amphora_id))


def _clients(document: LoadBalancer) -> Iterator[FirewallRule]:
    for listener in document.listeners:
        protocol = _PROTOCOLS.get(listener.protocol, RuleProtocol.TCP)
        for cidr in listener.allowed_cidrs or (None,):
            source = None if cidr is None else ip_network(cidr)
            yield FirewallRule(protocol=protocol, cidr=source, port=listener.port)


def _peers(document: LoadBalancer, amphora_id: str) -> Iterator[FirewallRule]:
    if document.topology is not Topology.ACTIVE_STANDBY:
        return
    for amphora in document.amphorae:
        if amphora.id == amphora_id:
            continue
        peer = ip_network(amphora.vrrp_ip)
        yield FirewallRule(protocol=RuleProtocol.VRRP, cidr=peer, port=_VRRP)
        yield FirewallRule(protocol=RuleProtocol.TCP, cidr=peer, port=_HAPROXY_PEERS)
        if document.vrrp is not None and document.vrrp.bfd is not None:
            yield FirewallRule(protocol=RuleProtocol.UDP, cidr=peer, port=_BFD)
