# SPDX-License-Identifier: Apache-2.0
"""amphoractl watch: heartbeats as they come, on the terminal and to whoever must know."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from amphora_agent.system.datagram import DatagramSender
from amphora_controller.amphora.client import Amphora
from amphora_controller.certificates.store import Store as CertificateStore
from amphora_controller.errors import ControllerError
from amphora_controller.watch import ears, key, store
from amphora_controller.watch.certificates import Certificates
from amphora_controller.watch.delivery import Sink
from amphora_controller.watch.forward import Forward, comes_back
from amphora_controller.watch.loop import Parts
from amphora_controller.watch.loop import watch as run
from amphora_controller.watch.program import Program
from amphora_controller.watch.screen import Lines, LiveTable, Screen
from amphora_controller.watch.watcher import Limits
from amphora_controller.watch.webhook import Webhook

_PORT = 5555
_STATE = Path("/var/lib/amphoractl/watch")
_OCTAVIA_CONF = Path("/etc/octavia/octavia.conf")
_CERTIFICATES = Path("/etc/octavia/certs")
_LIMITS = Limits()


def watch(
    mirror: Annotated[
        int, typer.Option(min=1, max=65535, help="Mirror what comes to this port of this host.")
    ] = _PORT,
    listen: Annotated[
        str,
        typer.Option(
            help="HOST:PORT: listen there instead; takes the heartbeats away from Octavia, "
            "unless --forward hands them on."
        ),
    ] = "",
    forward: Annotated[
        str, typer.Option(help="HOST:PORT of a health manager that gets every datagram as it came.")
    ] = "",
    key_file: Annotated[
        Path | None, typer.Option(help="File with the heartbeat key; else octavia.conf has it.")
    ] = None,
    octavia_conf: Annotated[Path, typer.Option(help="Has the heartbeat key.")] = _OCTAVIA_CONF,
    as_json: Annotated[
        bool, typer.Option("--json", help="A line of JSON for each change.")
    ] = False,
    heartbeats: Annotated[
        bool, typer.Option(help="With --json, a line for each heartbeat as well.")
    ] = False,
    webhook: Annotated[
        str,
        typer.Option(
            envvar="AMPHORA_WATCH_WEBHOOK",
            show_envvar=True,
            help="URL that each change is POSTed to; put one with a secret into the variable.",
        ),
    ] = "",
    program: Annotated[
        Path | None,
        typer.Option("--exec", help="Program that gets each change on its standard input."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Directory that remembers statuses and waiting events; "
            f"with --webhook or --exec {_STATE}, otherwise none."
        ),
    ] = None,
    silent_after: Annotated[
        float, typer.Option(min=1, help="Seconds without a heartbeat.")
    ] = _LIMITS.silent_s,
    forget_after: Annotated[
        float, typer.Option(min=1, help="Seconds after which a silent amphora is forgotten.")
    ] = _LIMITS.forget_s,
    certificates: Annotated[
        bool, typer.Option(help="Ask each amphora how long its certificate is valid.")
    ] = False,
    directory: Annotated[
        Path, typer.Option("--directory", "-d", help="Where the controllers' certificates lie.")
    ] = _CERTIFICATES,
) -> None:
    """Show amphorae by their heartbeats, and tell of changes, until it is interrupted."""
    if forward and not listen:
        raise ControllerError("--forward needs --listen", "a mirror takes nothing away")
    if heartbeats and not as_json:
        raise ControllerError("--heartbeats needs --json", "the table shows them already")
    sinks: list[Sink] = []
    if webhook:
        sinks.append(Webhook(url=webhook))
    if program is not None:
        sinks.append(Program(path=program))
    secret = key.from_octavia_conf(octavia_conf) if key_file is None else key.from_file(key_file)
    if sinks and state is None:
        state = _STATE
    with ExitStack() as stack:
        ended = stack.enter_context(_interrupted())
        path = None if state is None else stack.enter_context(store.owned(state))
        opened = ears.receiver(*_host_and_port(listen)) if listen else ears.mirror(mirror)
        parts = Parts(
            ears=stack.enter_context(opened),
            key=secret,
            limits=Limits(silent_s=silent_after, forget_s=max(forget_after, silent_after)),
            path=path,
            sinks=sinks,
            screen=_screen(stack, as_json=as_json, heartbeats=heartbeats),
            forward=_forward(stack, listen, forward) if forward else None,
            certificates=_certificates(directory) if certificates else None,
        )
        try:
            run(parts, ended)
        except BrokenPipeError:
            # Who read the lines has ended; Python would complain once more when it flushes.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _screen(stack: ExitStack, *, as_json: bool, heartbeats: bool) -> Screen:
    console = Console()
    if as_json or not sys.stdout.isatty() or console.is_dumb_terminal:
        notes = sys.stderr if as_json else sys.stdout
        return Lines(sys.stdout, notes, as_json=as_json, heartbeats=heartbeats)
    table = LiveTable(console)
    stack.callback(table.close)
    return table


def _forward(stack: ExitStack, listen: str, target: str) -> Forward:
    where = _host_and_port(target)
    if comes_back(_host_and_port(listen), where):
        raise ControllerError(
            f"{target} is where the watch itself listens", "--forward needs the health manager's"
        )
    return Forward(stack.enter_context(DatagramSender()), *where)


def _certificates(directory: Path) -> Certificates:
    files = CertificateStore(directory=directory)

    def client(address: str) -> Amphora:
        return Amphora(
            address=address, trust=files.server_chain, identity=files.client_bundle, timeout_s=5.0
        )

    return Certificates(client)


def _host_and_port(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal() or not 1 <= int(port) <= 65535:
        raise ControllerError(f"{text} is not HOST:PORT", "such as 192.0.2.11:5556 or [::]:5556")
    return host.strip("[]"), int(port)


@contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set."""
    ended = threading.Event()
    before = {
        number: signal.signal(number, lambda *_: ended.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
