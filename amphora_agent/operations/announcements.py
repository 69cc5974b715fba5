# SPDX-License-Identifier: Apache-2.0
"""Tell the neighbours which addresses are here: gratuitous ARP and its like of IPv6.

Best effort: whoever is not told asks sooner or later, so that nothing fails for it.
"""

import logging
from collections.abc import Collection

from amphora_agent.errors import AgentError
from amphora_agent.layout import VIP_INTERFACE
from amphora_agent.models import IPAddress
from amphora_agent.operations import plugged
from amphora_agent.operations.context import Context
from amphora_agent.topology import Topology

LOG = logging.getLogger(__name__)


def vips(context: Context) -> None:
    """Announce every VIP that this amphora holds; of a pair keepalived announces them."""
    if context.settings.topology is not Topology.SINGLE:
        return
    plug = plugged.vip_nic(context)
    if plug is not None and plug.vip is not None:
        addresses(context, VIP_INTERFACE, [vip.address for vip in plug.vip.vips])


def addresses(context: Context, interface: str, wanted: Collection[IPAddress]) -> None:
    """Announce those of the addresses that an interface of the namespace bears at this moment."""
    try:
        # An address that is not here would draw traffic away from where it is.
        held = [
            address for address in wanted if context.network.interface_with(address) == interface
        ]
        if held:
            context.announcer.announce(interface, held)
    except (AgentError, OSError) as exc:
        LOG.warning("Addresses of %s are not announced: %s", interface, exc)
