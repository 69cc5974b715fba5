# SPDX-License-Identifier: Apache-2.0
"""The hold on this machine that programs work with; they differ in the rest."""

from pathlib import Path

from amphora_agent.operations.context import Context
from amphora_agent.settings import Settings
from amphora_agent.system.announcer import PacketAnnouncer
from amphora_agent.system.evidence import ProgramEvidence
from amphora_agent.system.haproxy import HaproxyProgram
from amphora_agent.system.host import LinuxHost
from amphora_agent.system.keepalived import KeepalivedProgram
from amphora_agent.system.network import NetlinkNetwork
from amphora_agent.system.nftables import NftProgram
from amphora_agent.system.services import Services
from amphora_agent.system.settings_store import SettingsStore


def build_context(
    loaded: Settings, *, services: Services, netns: str, config_file: Path
) -> Context:
    """The hold on this machine.

    Args:
        netns: name of the amphora's namespace.
    """
    return Context(
        store=SettingsStore(config_file, loaded),
        services=services,
        haproxy=HaproxyProgram(loaded.haproxy_cmd),
        keepalived=KeepalivedProgram(netns),
        network=NetlinkNetwork(netns),
        host=LinuxHost(loaded.haproxy_cmd, netns),
        nftables=NftProgram(netns),
        announcer=PacketAnnouncer(netns),
        evidence=ProgramEvidence(netns),
        netns=netns,
    )
