# SPDX-License-Identifier: Apache-2.0
"""The amphora agent: waits for its files, then serves the API over mutual TLS."""

import argparse
import logging
import os
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from amphora_agent import layout, settings
from amphora_agent.api import BODY_MAX_BYTES, create_app
from amphora_agent.errors import ConfigError
from amphora_agent.operations import expiry, recovery
from amphora_agent.operations.context import Context
from amphora_agent.server import Server
from amphora_agent.server_waiting import Limits
from amphora_agent.server_worker import Transport
from amphora_agent.settings import Settings
from amphora_agent.system import journal
from amphora_agent.system.notify import Notifier
from amphora_agent.system.services import Services, SystemdServices
from amphora_agent.system.tls import ServerContexts
from amphora_agent.wiring import build_context

LOG = logging.getLogger(__name__)

_WAIT_POLL_S = 0.2
_PRIVATE = 0o600


def main(argv: Sequence[str] | None = None) -> int:
    """Run the agent until it is told to stop."""
    parser = argparse.ArgumentParser(prog="amphora-agent", description=__doc__)
    parser.add_argument("--config-file", type=Path, default=layout.AGENT_CONFIG)
    arguments = parser.parse_args(argv)
    run(arguments.config_file, services=lambda _: SystemdServices(), netns=layout.NETNS)
    return 0


def run(config_file: Path, *, services: Callable[[Settings], Services], netns: str) -> None:
    """Wait for the files, then serve until a signal ends it.

    Args:
        services: makes the service manager.
        netns: name of the amphora's namespace.
    """
    loaded, contexts = wait_for_files(config_file)
    configure_logging(loaded, os.environ)
    tighten_modes(config_file, loaded.agent_server_cert)
    context = build_context(loaded, services=services(loaded), netns=netns, config_file=config_file)
    serve(context, contexts)


def wait_for_files(config_file: Path) -> tuple[Settings, ServerContexts]:
    """Wait until the configuration and the certificates are there and usable.

    Octavia's files may come after the start, or be broken; each new reason is told once.
    """
    told = ""
    with closing(Notifier.from_environment(os.environ)) as notifier:
        while True:
            try:
                loaded = settings.load(config_file)
                contexts = ServerContexts(
                    loaded.agent_server_cert, loaded.agent_server_ca, loaded.tls_minimum
                )
                contexts.current()
            except ConfigError as exc:
                if str(exc) != told:
                    told = str(exc)
                    print(f"amphora-agent waits: {told}", file=sys.stderr, flush=True)
                    notifier.status(f"waits: {told}")
            else:
                return loaded, contexts
            time.sleep(_WAIT_POLL_S)


def configure_logging(loaded: Settings, environment: Mapping[str, str]) -> None:
    """Log to the journal, with fields; by hand, and in tests, to standard error."""
    level = logging.DEBUG if loaded.debug else logging.INFO
    if journal.is_at_hand(environment):
        facility = loaded.administrative_log_facility
        handler: logging.Handler = journal.JournalHandler("amphora-agent", facility)
        logging.basicConfig(handlers=[handler], level=level, format="%(message)s")
    else:
        logging.basicConfig(
            stream=sys.stderr, level=level, format="%(levelname)s %(name)s: %(message)s"
        )


def tighten_modes(*paths: Path) -> None:
    """Let nobody but root read files with keys, which some ways of injection leave open."""
    for path in paths:
        try:
            if stat.S_IMODE(path.stat().st_mode) & ~_PRIVATE:
                path.chmod(_PRIVATE)
                LOG.info("%s is readable by root only, from now on", path)
        except OSError as exc:
            LOG.warning("%s may be readable by others: %s", path, exc.strerror)


def serve(context: Context, contexts: ServerContexts) -> None:
    """Serve the API until a signal ends it."""
    recovery.sweep(context)
    loaded = context.settings
    watch = expiry.Watch(lambda: datetime.now(UTC))
    host = f"[{loaded.bind_host}]" if ":" in loaded.bind_host else loaded.bind_host
    with closing(Notifier.from_environment(os.environ)) as notifier:
        transport = Transport(
            contexts=contexts,
            failures=context.handshakes,
            limits=Limits(body_s=loaded.request_timeout_s, body_bytes=BODY_MAX_BYTES),
            hang_up=lambda: context.settings,
            alive=notifier.alive,
            hourly=lambda: watch.look(context.settings),
        )
        Server(
            lambda: create_app(context),
            transport,
            f"{host}:{loaded.bind_port}",
            loglevel="debug" if loaded.debug else "warning",
            # For the scheme of URLs; the worker has contexts of its own.
            certfile=str(loaded.agent_server_cert),
        ).run()
