# SPDX-License-Identifier: Apache-2.0
"""Bring the haproxy of a load balancer to its stored configuration and certificates.

By commands to the worker where that can be, so that connections, counters and the findings of
health checks stay; by a reload otherwise, and whenever a command is refused or the worker is not
afterwards what it should be.
"""

import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from amphora_agent import haproxycfg, haproxyfiles, haproxyservers, hitless, render
from amphora_agent.errors import AgentError, CommandFailed, Refused
from amphora_agent.haproxyfiles import Kind, Loaded
from amphora_agent.hitless import Commands, Held, Reload, Step
from amphora_agent.layout import HEARTBEAT_UNIT, haproxy_unit
from amphora_agent.operations import running
from amphora_agent.operations.context import Context
from amphora_agent.operations.counters import Event
from amphora_agent.showstat import Worker
from amphora_agent.system import files

LOG = logging.getLogger(__name__)

# The old worker hands its sockets over as soon as the new one is ready. A load takes seconds with
# a large TLS session cache, and the controller gives up after 60 s.
_RELOAD_TIMEOUT_S = 40.0
_RELOAD_POLL_S = 0.02
# A command takes a millisecond. What is not done by then, a reload does.
_COMMANDS_TIMEOUT_S = 10.0
# How long a server that goes may finish its requests; then a reload leaves it to the old worker.
_REMOVAL_TIMEOUT_S = 2.0
_REMOVAL_POLL_S = 0.02


class Did(StrEnum):
    """What was done."""

    STARTED = "started"
    NOTHING = "nothing"
    COMMANDS = "commands"
    RELOAD = "reload"


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What was done, and a sentence about it."""

    kind: Did
    details: str


def haproxy(context: Context, lb_id: str) -> Outcome:
    """Bring the haproxy of a load balancer to what is stored; one that does not run is started.

    When this returns, it is in effect. To be called with the lock of the load balancer.

    Raises:
        AgentError: the service manager or haproxy failed; the details are their words.
    """
    if not context.services.is_active(haproxy_unit(lb_id)):
        start(context, lb_id)
        return Outcome(kind=Did.STARTED, details="haproxy started")
    outcome = _change(context, lb_id)
    context.counters.add(Event.APPLY, outcome.kind)
    return outcome


def _change(context: Context, lb_id: str) -> Outcome:
    plan = _plan(context, lb_id)
    if isinstance(plan, _Known):
        forget_server_state(context, lb_id)
        try:
            return _command(context, lb_id, plan)
        except AgentError as exc:
            LOG.warning("The haproxy of %s is reloaded after all: %s", lb_id, exc)
            plan = Reload(reason=str(exc).splitlines()[0])
    _reload(context, lb_id)
    return Outcome(kind=Did.RELOAD, details=f"haproxy reload: {plan.reason}")


def start(context: Context, lb_id: str) -> None:
    """Start the haproxy of a load balancer; one that runs stays as it is.

    Raises:
        AgentError: the service manager failed; the details are its words.
    """
    unit = haproxy_unit(lb_id)
    ran = context.services.is_active(unit)
    context.services.start(unit)
    if ran:
        return
    context.counters.add(Event.APPLY, Did.STARTED)
    if found := running.worker(context, lb_id):
        running.remember(context, lb_id, found[0], running.stored(context, lb_id))


def needs_no_check(context: Context, lb_id: str, config: str) -> bool:
    """Whether haproxy surely takes a configuration, because it runs one that is as good as equal.

    That is, one that differs in weights and admin states of servers only, with the same files.
    """
    found = running.worker(context, lb_id, wait=False)
    if found is None or (known := running.known(context, lb_id, found[0])) is None:
        return False
    stored = running.stored(context, lb_id)
    return stored == known and hitless.needs_no_check(stored.config, config)


def forget_server_state(context: Context, lb_id: str) -> None:
    """Before another configuration is stored, or a worker changed.

    A worker that starts takes the ports of servers from the file, over those of the configuration.
    """
    files.remove(context.settings.layout.server_state(lb_id))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Known:
    """Commands for a worker of which it is known what it runs."""

    worker: Worker
    before: Loaded
    commands: Commands


def _plan(context: Context, lb_id: str) -> _Known | Reload:
    found = running.worker(context, lb_id)
    if found is None:
        return Reload(reason="the worker does not say who it is")
    worker, version = found
    before = running.known(context, lb_id, worker)
    if before is None:
        return Reload(reason="it is not known what the worker runs")
    plan = hitless.plan(before, running.stored(context, lb_id), version)
    if isinstance(plan, Reload):
        return plan
    return _Known(worker=worker, before=before, commands=plan)


def _command(context: Context, lb_id: str, plan: _Known) -> Outcome:
    """Send the commands and see what came of them.

    Raises:
        AgentError: a command was refused, or the worker is not what it should be.
    """
    commands = plan.commands
    if commands.steps:
        running.forget(context, lb_id)
    socket = context.settings.layout.master_socket(lb_id)

    def ask(command: str) -> str:
        return context.haproxy.command(socket, plan.worker.pid, command).strip()

    deadline = time.monotonic() + _COMMANDS_TIMEOUT_S
    for step in commands.steps:
        if time.monotonic() > deadline:
            raise Refused("haproxy takes commands too slowly", f"`{step.text}` was not sent")
        _do(ask, step)
    answer = ask("show servers state")
    if fault := haproxyservers.difference(commands.servers, haproxyservers.states(answer)):
        raise Refused("haproxy does not run what it should", fault)
    _check_files(ask, commands.files)
    found = running.worker(context, lb_id)
    if found is None or found[0] != plan.worker:
        raise Refused("haproxy has another worker now", f"it was process {plan.worker.pid}")
    if commands.result != plan.before:
        running.remember(context, lb_id, plan.worker, commands.result)
    if not commands.steps:
        return Outcome(
            kind=Did.NOTHING, details="haproxy reload not needed: it runs what is stored"
        )
    changes = "1 change" if commands.changes == 1 else f"{commands.changes} changes"
    return Outcome(
        kind=Did.COMMANDS, details=f"haproxy reload not needed: {changes} applied at run time"
    )


def _do(ask: Callable[[str], str], step: Step) -> None:
    """Send a command.

    Raises:
        AgentError: it was refused, or the file that it carries cannot be read.
    """
    text = step.text
    if step.payload:
        text += f" <<\n{_pem(step.payload)}"
    deadline = time.monotonic() + _REMOVAL_TIMEOUT_S
    while True:
        answer = ask(text)
        if step.said in answer if step.said else not answer:
            return
        if not step.patient or time.monotonic() > deadline:
            raise Refused(f"haproxy refuses `{step.text}`", answer)
        time.sleep(_REMOVAL_POLL_S)


def _check_files(ask: Callable[[str], str], held: Iterable[Held]) -> None:
    """See that the worker has certificates and CA files as they are stored.

    Of a CRL it tells nothing by which it could be known again.

    Raises:
        AgentError: it has not.
    """
    for file in held:
        expected = haproxyfiles.fingerprints(_pem(file.source))
        shown = haproxyfiles.shown_fingerprints(ask(f"show ssl {file.kind} {file.name}"))
        if file.kind is Kind.CERTIFICATE:
            # It shows the first one, which is the server's own.
            same = bool(expected) and shown == expected[:1]
        else:
            same = file.kind is Kind.CRL or set(shown) == set(expected)
        if not same:
            raise Refused("haproxy does not have the new file", f"{file.kind} {file.source}")


def _pem(path: str) -> str:
    try:
        return haproxyfiles.pem_blocks(Path(path).read_bytes())
    except OSError as exc:
        raise Refused(f"{path} cannot be read", str(exc)) from exc


def _reload(context: Context, lb_id: str) -> None:
    """Have the master load everything anew.

    Raises:
        AgentError: it refuses, or no other worker comes; the details are haproxy's words.
    """
    layout = context.settings.layout
    # Certificates may have changed since the configuration was checked, and not every haproxy
    # says why it goes on with the old one.
    peer = render.peer_name(context.settings.amphora_id)
    context.haproxy.check((layout.haproxy_config(lb_id), layout.user_group), peer)
    _await_master(context, lb_id)
    before = running.worker(context, lb_id)
    loaded = running.stored(context, lb_id)
    _save_server_state(context, lb_id, loaded)
    # If the agent dies now, the next one would take what is still to come for what runs.
    running.forget(context, lb_id)
    context.haproxy.reload(layout.master_socket(lb_id))
    # An older master answers before the new worker serves.
    deadline = time.monotonic() + _RELOAD_TIMEOUT_S
    while time.monotonic() < deadline:
        now = running.worker(context, lb_id)
        if now is not None and now != before:
            running.remember(context, lb_id, now[0], loaded)
            # It meets the new worker, so that what this one counts is not lost to the next reload.
            with suppress(CommandFailed):
                context.services.reload(HEARTBEAT_UNIT)
            return
        time.sleep(_RELOAD_POLL_S)
    raise CommandFailed(
        "haproxy still runs the old configuration",
        returncode=None,
        output=f"`journalctl -u {haproxy_unit(lb_id)}` says why",
    )


def _await_master(context: Context, lb_id: str) -> None:
    """Wait for a reload that an agent before has asked for, and was killed.

    Its worker would be taken for that of the next reload. The master answers when it has loaded.

    Raises:
        AgentError: it does not answer.
    """
    deadline = time.monotonic() + _RELOAD_TIMEOUT_S
    while True:
        try:
            context.haproxy.query(context.settings.layout.master_socket(lb_id), "show proc")
        except AgentError:
            if time.monotonic() > deadline:
                raise
            time.sleep(_RELOAD_POLL_S)
        else:
            return


def _save_server_state(context: Context, lb_id: str, loaded: Loaded) -> None:
    """Keep what health checks have found, so that the new worker does not begin with all up."""
    layout = context.settings.layout
    try:
        said = context.haproxy.query(layout.stats_socket(lb_id), "show servers state")
        servers = haproxyservers.configured(haproxycfg.sections(loaded.config))
        state = haproxyservers.kept_state(said, servers)
    except AgentError as exc:
        LOG.warning("The state of the servers of %s is not kept: %s", lb_id, exc)
        files.remove(layout.server_state(lb_id))
        return
    files.write_atomic(layout.server_state(lb_id), state.encode(), mode=0o644)
