# SPDX-License-Identifier: Apache-2.0
"""What the worker process of the agent is built of; its parent never imports this."""

from flask import Flask

from amphora_agent.api import create_app
from amphora_agent.machine import build_context
from amphora_agent.operations import recovery
from amphora_agent.operations.context import Context

__all__ = ["build_app", "build_context"]


def build_app(context: Context) -> Flask:
    """The API of this machine, after what an earlier agent left half written has been removed."""
    recovery.sweep(context)
    return create_app(context)
