# SPDX-License-Identifier: Apache-2.0
"""The heartbeat sender: a service of its own, so that a stuck request never stops heartbeats.

Each period it asks every haproxy and IPVS, enters the traffic into the ledger, and sends one
message to one controller, in turn. A missing or broken configuration file makes it wait; a file
that breaks later leaves the last good settings in force. Both are said in the journal.
"""

import amphora_agent.sender.own_hashes  # noqa: F401  # before all others

# isort: split

import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from types import FrameType

from amphora_agent import layout
from amphora_agent.heartbeat import gate
from amphora_agent.sender.config_file import ConfigFile
from amphora_agent.sender.journal import Journal
from amphora_agent.sender.lvs_listeners import LvsListeners
from amphora_agent.sender.sender import STOP_SIGNALS, Sender
from amphora_agent.sender.status_file import StatusFile
from amphora_agent.sender.transmission import Transmission
from amphora_agent.settings import Settings
from amphora_agent.system.datagram import DatagramSender
from amphora_agent.system.ipvs import IpvsTable
from amphora_agent.system.notify import Notifier

USAGE = "usage: amphora-heartbeat [--config-file FILE]"

# While there is no usable configuration, the file is looked at this often.
_CONFIG_RETRY_S = 1.0
# And this often while one waits for the next heartbeat, for a change of the period itself.
_CONFIG_LOOK_S = 5.0

# All questions to IPVS of one heartbeat.
_IPVS_TIMEOUT_S = 1.0

_SIGNALS = STOP_SIGNALS | {signal.SIGHUP}


class _Stop(BaseException):
    """A signal asks to stop; no error, so that nothing which handles errors handles it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT.

    SIGHUP has the configuration read again, and new workers of haproxy connected to.

    Args:
        argv: options, those of the process by default.

    Returns:
        Exit status: 0 after a signal, 2 for wrong options.
    """
    match list(sys.argv[1:] if argv is None else argv):
        case []:
            path = layout.AGENT_CONFIG
        case ["--config-file", name]:
            path = Path(name)
        case ["-h" | "--help"]:
            sys.stdout.write(f"{USAGE}\n")
            return 0
        case _:
            sys.stderr.write(f"{USAGE}\n")
            return 2
    signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    for number in STOP_SIGNALS:
        signal.signal(number, _stop)
    with closing(Notifier.from_environment(os.environ)) as notifier:
        notifier.ready("starting")
        try:
            _serve(path, notifier)
        except _Stop:
            pass
        finally:
            notifier.stopping()
    return 0


def _serve(path: Path, notifier: Notifier) -> None:
    journal = Journal()
    with DatagramSender() as datagrams, closing(_table()) as table:
        sender = Sender(
            journal,
            Transmission(journal, datagrams),
            LvsListeners(journal, table),
            StatusFile(_runtime_directory(), journal),
        )
        with closing(sender):
            _run(ConfigFile(path, journal), sender, journal, notifier)


def _table() -> IpvsTable:
    return IpvsTable(layout.NETNS, timeout_s=_IPVS_TIMEOUT_S)


def _runtime_directory() -> Path | None:
    """Where systemd wants files that need not outlive a boot (systemd.exec(5))."""
    found = os.environ.get("RUNTIME_DIRECTORY")
    return Path(found) if found else None


def _run(config_file: ConfigFile, sender: Sender, journal: Journal, notifier: Notifier) -> None:
    """Send heartbeats on an exact grid of times until a signal says to stop."""
    due_s = time.monotonic()
    interval_s = 0.0
    while True:
        config = config_file.refresh()
        if config is None:
            notifier.status("waiting for the configuration")
            due_s = time.monotonic() + _CONFIG_RETRY_S
        else:
            if config.heartbeat_interval_s != interval_s:
                interval_s = config.heartbeat_interval_s
                due_s = time.monotonic()
            if time.monotonic() >= due_s:
                notifier.status(_beat(sender, config, journal))
                due_s = gate.next_due(due_s, now_s=time.monotonic(), interval_s=interval_s)
        received = _wait(min(due_s, time.monotonic() + _CONFIG_LOOK_S), notifier)
        if received in STOP_SIGNALS:
            return
        if received == signal.SIGHUP:
            sender.meet()


def _beat(sender: Sender, config: Settings, journal: Journal) -> str:
    try:
        outcome = sender.beat(config)
    except Exception as exc:  # noqa: BLE001  # top of the loop
        # Whatever this is, the next heartbeat may work; a dead sender would mean a failover.
        import traceback  # noqa: PLC0415  # it brings a reader of Python along

        journal.trouble("fault", f"no heartbeat: {exc!r}", traceback.format_exc())
        return f"no heartbeat: {exc!r}"
    journal.fine("fault", "the fault is over")
    return outcome


def _wait(until_s: float, notifier: Notifier) -> int | None:
    """Wait for a time or a signal; returns the signal's number.

    The signals are blocked, so that one that came earlier is found here and none is missed.
    """
    slice_s = notifier.watchdog_s / 3 if notifier.watchdog_s else float("inf")
    while True:
        notifier.alive()
        remaining_s = max(0.0, until_s - time.monotonic())
        received = signal.sigtimedwait(_SIGNALS, min(remaining_s, slice_s))
        if received is not None:
            return received.si_signo
        if time.monotonic() >= until_s:
            return None


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _Stop


if __name__ == "__main__":
    sys.exit(main())
