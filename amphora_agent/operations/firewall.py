# SPDX-License-Identifier: Apache-2.0
"""What may come in through a VIP's NIC that Neutron does not guard (SR-IOV)."""

from amphora_agent import render
from amphora_agent.models import FirewallRule
from amphora_agent.operations.context import Context
from amphora_agent.system import files


def store(context: Context, rules: tuple[FirewallRule, ...]) -> None:
    """Keep the complete list of what may come in; it replaces the one before, also when empty.

    Not yet done with it: the rules of nftables that follow from it, loaded in one step, and again
    at every boot.
    """
    with context.locks.hold("firewall"):
        files.write_atomic(
            context.settings.layout.vip_rules, render.firewall_json(rules), mode=0o600
        )
