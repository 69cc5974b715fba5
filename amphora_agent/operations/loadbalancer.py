# SPDX-License-Identifier: Apache-2.0
"""The haproxy of a load balancer: its configuration and its life."""

from pathlib import Path

from amphora_agent import parse, render, validate
from amphora_agent.errors import AgentError, CommandFailed, NotFound, Refused
from amphora_agent.layout import haproxy_unit
from amphora_agent.models import Action
from amphora_agent.operations import announcements, apply, certificates, check_scripts, staging
from amphora_agent.operations.context import Context
from amphora_agent.operations.digest import md5sum
from amphora_agent.system import files


def upload(context: Context, amphora_id: str, lb_id: str, content: bytes) -> str:
    """Check a haproxy configuration and store it; returns the MD5 of the bytes in hexadecimal.

    The running haproxy is not touched. A configuration that haproxy refuses is kept beside, as
    haproxy.cfg.new-failed, and the one before stays.

    Raises:
        InvalidRequest: it is not UTF-8, or haproxy refuses it; the details are haproxy's words.
    """
    layout = context.settings.layout
    text = parse.without_group(validate.utf8(content, "haproxy.cfg"))

    def prepare(new: Path) -> None:
        if not apply.needs_no_check(context, lb_id, text):
            check(context, new, render.peer_name(amphora_id))
        environment = render.haproxy_environment(amphora_id).encode()
        files.write_if_different(layout.haproxy_environment(lb_id), environment, mode=0o644)
        apply.forget_server_state(context, lb_id)

    with context.locks.hold(lb_id):
        staging.store(layout.haproxy_config(lb_id), text, mode=0o600, prepare=prepare)
    return md5sum(content)


def config(context: Context, lb_id: str) -> bytes:
    """The stored configuration.

    Raises:
        NotFound: none was uploaded.
    """
    try:
        return context.settings.layout.haproxy_config(lb_id).read_bytes()
    except FileNotFoundError as exc:
        raise _not_found(lb_id) from exc


def is_configured(context: Context, lb_id: str) -> bool:
    """Whether a configuration was uploaded."""
    return context.settings.layout.haproxy_config(lb_id).exists()


def act(context: Context, lb_id: str, action: Action) -> str:
    """Start, stop or reload haproxy; returns what was done.

    When this returns, the action has taken effect. A reload of a haproxy that does not run starts
    it: that is how controllers start one.

    Raises:
        NotFound: no configuration was uploaded.
        AgentError: the service manager or haproxy failed; the details are their words.
    """
    unit = haproxy_unit(lb_id)
    with context.locks.hold(lb_id):
        if not is_configured(context, lb_id):
            raise _not_found(lb_id)
        _expect(context, lb_id, runs=action is not Action.STOP)
        try:
            if action is Action.STOP:
                context.services.stop(unit)
                return f"Listener {lb_id} stopped"
            if action is Action.RELOAD and context.services.is_active(unit):
                outcome = apply.haproxy(context, lb_id)
                done = f"Listener {lb_id} reloaded\n{outcome.details}"
            else:
                apply.start(context, lb_id)
                done = f"Configuration file is valid\nhaproxy daemon for {lb_id} started"
        except AgentError as exc:
            raise AgentError(f"Error {_GERUND[action]} haproxy", str(exc)) from exc
        announcements.vips(context)
        certificates.remove_unused(context, lb_id)
    return done


def delete(context: Context, lb_id: str) -> None:
    """Stop haproxy and forget the load balancer; one that is not known counts as deleted.

    Raises:
        AgentError: haproxy did not stop; everything is still there.
    """
    layout = context.settings.layout
    with context.locks.hold(lb_id):
        if is_configured(context, lb_id):
            _expect(context, lb_id, runs=False)
        try:
            context.services.stop(haproxy_unit(lb_id))
        except CommandFailed as exc:
            raise AgentError("Error stopping haproxy", str(exc)) from exc
        # The configuration goes first: without it nothing starts at the next boot, even if the
        # machine dies before the rest is gone.
        files.remove(layout.haproxy_config(lb_id))
        files.remove(layout.stats_socket(lb_id))
        files.remove_tree(layout.cert_dir(lb_id))
        files.remove_tree(layout.lb_dir(lb_id))


_GERUND = {Action.START: "starting", Action.STOP: "stopping", Action.RELOAD: "reloading"}


def _not_found(lb_id: str) -> NotFound:
    return NotFound("Loadbalancer Not Found", f"no haproxy configuration was uploaded for {lb_id}")


def check(context: Context, new: Path, peer_name: str) -> None:
    """Let haproxy read a configuration.

    Raises:
        Refused: it finds faults; the details are its words.
        CommandFailed: it did not end by itself, which says nothing about the configuration.
    """
    try:
        context.haproxy.check((new, context.settings.layout.user_group), peer_name)
    except CommandFailed as exc:
        if exc.returncode is None or exc.returncode < 0:
            raise
        raise Refused(f"haproxy refuses {new.name}", exc.output) from exc


def _expect(context: Context, lb_id: str, *, runs: bool) -> None:
    """Have the amphora's fitness for the VIP depend on a haproxy from now on, or no longer.

    Before anything is done about the haproxy itself, so that one that is stopped on purpose is not
    taken for a failure, and one that does not start is.
    """
    stopped = context.settings.layout.haproxy_stopped(lb_id)
    if runs:
        files.remove(stopped)
    else:
        files.write_if_different(stopped, b"", mode=0o644)
    check_scripts.refresh(context)
