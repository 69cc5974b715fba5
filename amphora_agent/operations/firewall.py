# SPDX-License-Identifier: Apache-2.0
"""What nftables does in the amphora's namespace.

It guards a VIP's NIC that Neutron does not (SR-IOV), and lets members of UDP and SCTP listeners
answer by way of the amphora.
"""

import logging
from collections.abc import Collection

from amphora_agent import render
from amphora_agent.errors import AgentError
from amphora_agent.models import FirewallRule
from amphora_agent.nft import Change
from amphora_agent.operations import plugged
from amphora_agent.operations.context import Context
from amphora_agent.system import files

LOG = logging.getLogger(__name__)

LOCK = "firewall"
_CLOSED: tuple[FirewallRule, ...] = ()


def store_and_load(context: Context, rules: tuple[FirewallRule, ...]) -> None:
    """Let in through the VIP's NIC what the rules say, now and after every boot.

    They replace those before, also when there are none: then nothing comes in but answers.
    Connections that are established go on.

    Raises:
        AgentError: nft failed or refused them; those before are still in force and in the file.
    """
    with context.locks.hold(LOCK):
        _store_and_load(context, rules)


def load(context: Context) -> None:
    """Put the stored rules into force; an SR-IOV NIC without any is closed.

    To be called before the VIP's NIC comes up; it can be called again at any time. With stored
    rules that nft does not take, an SR-IOV NIC is closed as well, and the file stays for a look.

    Raises:
        AgentError: nft failed, or refused the rules.
    """
    with context.locks.hold(LOCK):
        load_held(context)


def load_held(context: Context) -> None:
    """The same, for who holds `LOCK`.

    Raises:
        AgentError: see load.
    """
    path = context.settings.layout.vip_rules
    try:
        stored = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if is_sriov(context):
            _store_and_load(context, _CLOSED)
        return
    except UnicodeDecodeError:
        # No text of ours; nft will say so.
        stored = path.read_text(encoding="utf-8", errors="replace")
    try:
        context.nftables.load(stored)
    except AgentError:
        if is_sriov(context):
            context.nftables.load(render.vip_firewall(_CLOSED))
        raise


def masquerade(
    context: Context, interface: str, ip_versions: Collection[int], *, sriov: bool
) -> None:
    """Have members that are reached through an interface answer UDP and SCTP to the amphora.

    Best effort: a kernel that cannot do it still balances TCP. It can be called again at any time.

    Args:
        ip_versions: 4, 6 or both.
        sriov: the interface is a virtual function, whose firewall needs TCP tracked.
    """
    _masquerade(context, interface, ip_versions, Change.ADD, sriov=sriov)


def unmasquerade(context: Context, interface: str, ip_versions: Collection[int]) -> None:
    """Undo `masquerade` for one interface; the others keep theirs."""
    _masquerade(context, interface, ip_versions, Change.DELETE, sriov=False)


def _store_and_load(context: Context, rules: tuple[FirewallRule, ...]) -> None:
    layout = context.settings.layout
    text = render.vip_firewall(rules)
    # The disk may refuse before anything has changed; moving the file afterwards needs no space.
    files.write_atomic(layout.vip_rules_new, text.encode(), mode=0o600)
    context.nftables.load(text)
    files.rename(layout.vip_rules_new, layout.vip_rules)


def is_sriov(context: Context) -> bool:
    """Whether the VIP's NIC was plugged as one that Neutron does not guard."""
    plug = plugged.vip_nic(context)
    return plug is not None and plug.vip is not None and plug.vip.is_sriov


def _masquerade(
    context: Context, interface: str, ip_versions: Collection[int], change: Change, *, sriov: bool
) -> None:
    try:
        text = render.masquerade(interface, ip_versions, change=change, track_tcp=sriov)
        with context.locks.hold(LOCK):
            context.nftables.load(text)
    except (AgentError, OSError) as exc:
        LOG.warning(
            "UDP and SCTP members behind %s may answer clients directly: %s", interface, exc
        )
