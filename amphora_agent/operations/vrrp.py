# SPDX-License-Identifier: Apache-2.0
"""VRRP: the keepalived of an amphora that is one of a pair."""

from functools import partial

from amphora_agent import validate
from amphora_agent.errors import AgentError, CommandFailed
from amphora_agent.layout import KEEPALIVED_UNIT
from amphora_agent.models import Action
from amphora_agent.operations import check_scripts, staging
from amphora_agent.operations.context import Context
from amphora_agent.operations.digest import md5sum

LOCK = "vrrp"
_DONE = {Action.START: "started", Action.STOP: "stopped", Action.RELOAD: "reloaded"}


def upload(context: Context, content: bytes) -> str:
    """Check a VRRP configuration and store it; returns the MD5 of the bytes in hexadecimal.

    The script that it names is written first. From then on the amphora's heartbeats depend on
    keepalived. The running one is not touched.

    Raises:
        InvalidRequest: keepalived refuses it; the details are its words.
    """
    with context.locks.hold(LOCK):
        config = context.settings.layout.keepalived_config
        text = validate.utf8(content, config.name)
        check_scripts.write(context)
        staging.store(config, text, mode=0o644, prepare=partial(staging.check_keepalived, context))
    return md5sum(content)


def act(context: Context, action: Action) -> str:
    """Start, stop or reload keepalived; returns what was done.

    Controllers start it again after every upload: one that runs reads its configuration anew then,
    because a restart would drop the VIP. A reload of one that does not run starts it.

    Raises:
        AgentError: nothing was uploaded, or the service manager or keepalived failed.
    """
    problem = f"Failed to {action} octavia-keepalived service"
    with context.locks.hold(LOCK):
        config = context.settings.layout.keepalived_config
        if action is not Action.STOP and not config.exists():
            raise AgentError(problem, "no configuration was uploaded: PUT vrrp/upload comes first")
        if action is not Action.STOP:
            check_scripts.write(context)
        try:
            if action is Action.STOP:
                context.services.stop(KEEPALIVED_UNIT)
            elif context.services.is_active(KEEPALIVED_UNIT):
                context.services.reload(KEEPALIVED_UNIT)
            else:
                context.services.start(KEEPALIVED_UNIT)
        except CommandFailed as exc:
            raise AgentError(problem, str(exc)) from exc
    return f"keepalived {_DONE[action]}"
