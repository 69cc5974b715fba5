# SPDX-License-Identifier: Apache-2.0
"""What the worker process of the agent is built of; its parent never imports this."""

from pathlib import Path

from flask import Flask

from amphora_agent.api import create_app
from amphora_agent.operations import recovery
from amphora_agent.operations.context import Context
from amphora_agent.settings import Settings
from amphora_agent.system.haproxy import HaproxyProgram
from amphora_agent.system.host import LinuxHost
from amphora_agent.system.keepalived import KeepalivedProgram
from amphora_agent.system.network import NetlinkNetwork
from amphora_agent.system.services import Services
from amphora_agent.system.settings_store import SettingsStore


def build_context(
    loaded: Settings, *, services: Services, netns: str, config_file: Path
) -> Context:
    """The agent's hold on this machine."""
    return Context(
        store=SettingsStore(config_file, loaded),
        services=services,
        haproxy=HaproxyProgram(loaded.haproxy_cmd),
        keepalived=KeepalivedProgram(netns),
        network=NetlinkNetwork(netns),
        host=LinuxHost(loaded.haproxy_cmd, netns),
    )


def build_app(context: Context) -> Flask:
    """The API of this machine, after what an earlier agent left half written has been removed."""
    recovery.sweep(context)
    return create_app(context)
