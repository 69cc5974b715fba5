# SPDX-License-Identifier: Apache-2.0
"""UDP and SCTP listeners: one keepalived each, which programs the kernel's IPVS."""

import logging
from pathlib import Path

from amphora_agent import parse, render, validate
from amphora_agent.errors import AgentError, CommandFailed, NotFound
from amphora_agent.layout import lvs_unit
from amphora_agent.models import Action, ListenerStatus
from amphora_agent.operations import announcements, check_scripts, staging
from amphora_agent.operations.context import Context
from amphora_agent.operations.digest import md5sum
from amphora_agent.system import files

LOG = logging.getLogger(__name__)

# root alone runs it, from keepalived.
_UDP_CHECK_MODE = 0o100

# Before, members that had failed their checks stayed away after a reload (seen by Octavia, which
# restarts therefore). With 2.3.3 they are checked on, and restored when they answer again.
_RELOADS_WELL_SINCE = (2, 3)

_DONE = {Action.START: "started", Action.STOP: "stopped", Action.RELOAD: "reloaded"}


def upload(context: Context, listener_id: str, content: bytes) -> str:
    """Check a listener's configuration and store it; returns the MD5 of the bytes in hexadecimal.

    The scripts that it needs are written first. The running keepalived is not touched.

    Raises:
        InvalidRequest: keepalived refuses it; the details are its words.
    """
    layout = context.settings.layout
    config = layout.lvs_config(listener_id)
    text = validate.utf8(content, config.name)

    def prepare(new: Path) -> None:
        staging.check_keepalived(context, new)
        check_scripts.refresh(context, lvs_comes=True)

    with context.locks.hold(listener_id):
        files.write_if_different(
            layout.udp_check, render.udp_check().encode(), mode=_UDP_CHECK_MODE
        )
        staging.store(config, text, mode=0o644, prepare=prepare)
    return md5sum(content)


def config(context: Context, listener_id: str) -> bytes:
    """The stored configuration.

    Raises:
        NotFound: none was uploaded.
    """
    try:
        return context.settings.layout.lvs_config(listener_id).read_bytes()
    except FileNotFoundError as exc:
        raise _not_found(listener_id) from exc


def is_configured(context: Context, listener_id: str) -> bool:
    """Whether a configuration was uploaded."""
    return context.settings.layout.lvs_config(listener_id).exists()


def is_known(context: Context, listener_id: str) -> bool:
    """Whether anything of a listener is here, and be it what a broken-off delete has left."""
    config = context.settings.layout.lvs_config(listener_id)
    return any(config.parent.glob(f"{config.stem}.*"))


def act(context: Context, listener_id: str, action: Action) -> str:
    """Start, stop or reload a listener's keepalived; returns what was done.

    Raises:
        NotFound: no configuration was uploaded.
        AgentError: the service manager or keepalived failed; the details are their words.
    """
    unit = lvs_unit(listener_id)
    with context.locks.hold(listener_id):
        if not is_configured(context, listener_id):
            raise _not_found(listener_id)
        check_scripts.refresh(context)
        try:
            if action is Action.START:
                context.services.start(unit)
            elif action is Action.STOP:
                context.services.stop(unit)
            else:
                _reload(context, unit)
        except CommandFailed as exc:
            raise AgentError(
                f"Failed to {action} keepalivedlvs listener {listener_id}", str(exc)
            ) from exc
        if action is not Action.STOP:
            announcements.vips(context)
    return f"keepalivedlvs listener {listener_id} {_DONE[action]}"


def delete(context: Context, listener_id: str) -> None:
    """Stop a listener's keepalived and forget the listener; an unknown one counts as deleted.

    Raises:
        AgentError: keepalived did not stop; everything is still there.
    """
    config = context.settings.layout.lvs_config(listener_id)
    with context.locks.hold(listener_id):
        check_scripts.refresh(context)
        try:
            context.services.stop(lvs_unit(listener_id))
        except CommandFailed as exc:
            raise AgentError("Error stopping keepalivedlvs", str(exc)) from exc
        # Without it nothing starts at the next boot, and heartbeats no longer tell of it.
        files.remove(config)
        for path in config.parent.glob(f"{config.stem}.*"):
            files.remove(path)


def status(context: Context, listener_id: str) -> ListenerStatus:
    """What a listener is doing; the type is always UDP, as controllers know it."""
    state = "OFFLINE"
    if context.services.is_active(lvs_unit(listener_id)):
        state = "ACTIVE"
    elif context.settings.layout.lvs_pids(listener_id)[0].exists():
        # keepalived removes its pid file when it is stopped, not when it dies.
        state = "ERROR"
    return ListenerStatus(uuid=listener_id, status=state, type="UDP")


def _reload(context: Context, unit: str) -> None:
    """Let keepalived take over a new configuration: without a restart, if it can.

    A reload lets the flows of members that stay go on; a restart takes the whole listener out of
    IPVS for a moment, and every flow is balanced anew. keepalived follows some hundredths of a
    second after a reload was asked for.
    """
    if context.services.is_active(unit) and reloads_well(context.host.versions().keepalived):
        try:
            context.services.reload(unit)
        except CommandFailed as exc:
            # One that has just died, and that systemd is about to start again.
            LOG.warning("%s is restarted: %s", unit, exc)
        else:
            return
    context.services.restart(unit)


def reloads_well(version: str) -> bool:
    """Whether a keepalived restores members after a reload; not if its version is not known."""
    return version != "" and parse.version_numbers(version) >= _RELOADS_WELL_SINCE


def _not_found(listener_id: str) -> NotFound:
    return NotFound("UDP Listener Not Found", f"no configuration was uploaded for {listener_id}")
