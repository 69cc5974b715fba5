# SPDX-License-Identifier: Apache-2.0
"""What a document is rendered for: this amphora."""

import dataclasses
from ipaddress import ip_address

from amphora_agent.balancer.checks import InvalidDocument, Problem
from amphora_agent.balancer.desired import Machine
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.haproxy import Host
from amphora_agent.errors import WrongAmphora
from amphora_agent.layout import VIP_INTERFACE, Layout
from amphora_agent.operations import firewall
from amphora_agent.operations.context import Context
from amphora_agent.topology import Topology

# The profile whose processors are kept free for haproxy (element amphora-tuned of Octavia).
_TUNED = "amphora"


def check(context: Context, document: LoadBalancer) -> None:
    """See that a document is for this amphora.

    Raises:
        InvalidDocument: the document does not name this amphora.
        WrongAmphora: the amphora was made or plugged for another kind of load balancer.
    """
    settings = context.settings
    if document.topology is not settings.topology:
        raise WrongAmphora(
            f"The amphora is not one for topology {document.topology}",
            f"its configuration says {settings.topology}; PUT /1.0/config changes that",
        )
    if document.sriov != firewall.is_sriov(context):
        raise WrongAmphora(
            "The VIP's NIC is not of the kind that the document says",
            "sriov has to be what is_sriov was when the VIP was plugged",
        )
    if document.topology is Topology.ACTIVE_STANDBY and not any(
        amphora.id == settings.amphora_id for amphora in document.amphorae
    ):
        reason = f"this amphora, {settings.amphora_id}, is not one of them"
        raise InvalidDocument((Problem(path="amphorae", reason=reason),))


def machine(context: Context, document: LoadBalancer, layout: Layout, *, memory_kb: int) -> Machine:
    """This amphora.

    Args:
        layout: where files are said to lie.
        memory_kb: see memory.
    """
    settings = context.settings
    return Machine(
        host=Host(
            layout=dataclasses.replace(layout, netns=context.netns),
            processors=context.host.cpu().count,
            is_tuned=_TUNED in context.host.tuned_profiles().split(),
            memory_kb=memory_kb,
            user_facility=settings.user_log_facility,
            admin_facility=settings.administrative_log_facility,
        ),
        amphora_id=settings.amphora_id,
        interface=_interface(context, document),
    )


def memory(context: Context) -> int:
    """What haproxy may use of the machine's memory, in kB, as a controller reckons it."""
    found = context.host.memory()
    return found.free + found.buffers + found.cached


def _interface(context: Context, document: LoadBalancer) -> str:
    """The NIC that bears this amphora's own address on the VIP's network."""
    for amphora in document.amphorae:
        if amphora.id == context.settings.amphora_id:
            found = context.network.interface_with(ip_address(amphora.vrrp_ip))
            return found or VIP_INTERFACE
    return VIP_INTERFACE
