# SPDX-License-Identifier: Apache-2.0
"""The heartbeat sender: a service of its own, so that a stuck request never stops heartbeats.

Each period it asks every haproxy for its statistics, enters the traffic into the ledger, and sends
one message to one controller, in turn. A missing or broken configuration file makes it wait; a
file that breaks later leaves the last good settings in force. Both are said in the journal.
"""

import os
import signal
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from amphora_agent import heartbeat, layout, settings, showstat
from amphora_agent.errors import AgentError, ConfigError, ParseError
from amphora_agent.heartbeat import Ledger, Observation
from amphora_agent.layout import Layout
from amphora_agent.settings import Controller, Settings
from amphora_agent.system import files
from amphora_agent.system.datagram import DatagramSender
from amphora_agent.system.haproxy_socket import query
from amphora_agent.system.notify import Notifier

USAGE = "usage: amphora-heartbeat [--config-file FILE]"

# While there is no usable configuration, the file is looked at this often.
_CONFIG_RETRY_S = 1.0
# One haproxy may take this long to answer; all of them together half a period, and never so long
# that systemd's watchdog (30 s) would take the sender for dead.
_QUERY_TIMEOUT_S = 2.0
_COLLECT_TIMEOUT_S = 5.0
# Some hundred bytes for each listener; not readable by all, as upstream's file is not.
_COUNTERS_MODE = 0o640

_STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})
_SIGNALS = _STOP_SIGNALS | {signal.SIGHUP}


class _Stop(BaseException):
    """A signal asks to stop; no error, so that nothing which handles errors handles it."""


class Journal:
    """Writes lines to standard error with the priorities of sd-daemon(3), each trouble once."""

    def __init__(self) -> None:
        self._troubles: dict[str, str] = {}

    def info(self, text: str) -> None:
        """Say something worth knowing."""
        self._write(6, text)

    def debug(self, text: str) -> None:
        """Say something for whoever looks for a fault."""
        self._write(7, text)

    def warning(self, text: str) -> None:
        """Say that something is wrong, every time."""
        self._write(4, text)

    def trouble(self, topic: str, text: str, details: str = "") -> None:
        """Say what is wrong, unless the same was said last of this topic.

        Args:
            details: added to the line; a change of these alone is not worth another line.
        """
        if self._troubles.get(topic) != text:
            self._troubles[topic] = text
            self.warning(f"{text}: {details}" if details else text)

    def fine(self, topic: str, text: str) -> None:
        """Say that a trouble is over, if there was one."""
        if self._troubles.pop(topic, None) is not None:
            self.info(text)

    def _write(self, priority: int, text: str) -> None:
        # One entry is one line, also for a traceback.
        line = f"<{priority}>{' | '.join(text.strip().splitlines())}\n"
        try:
            os.write(2, line.encode(errors="replace"))
        except OSError:
            # Nobody reads the journal: no reason to stop the heartbeat.
            return


class ConfigFile:
    """The agent's configuration file, read again when it changes."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self._path = path
        self._journal = journal
        self._signature: object = None
        self.current: Settings | None = None

    def refresh(self) -> Settings | None:
        """The last good settings; None when there were none yet."""
        # Taken before the file is read, so that a change in between is seen the next time.
        signature = self._look()
        if signature is None or signature != self._signature:
            self._signature = signature
            self._read()
        return self.current

    def _look(self) -> object:
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns

    def _read(self) -> None:
        try:
            loaded = settings.load(self._path)
        except ConfigError as exc:
            instead = "no heartbeat is sent" if self.current is None else "the last one is kept"
            self._journal.trouble("config", f"{exc}; {instead} until the file is right")
            return
        self._journal.fine("config", f"{self._path} is right now")
        # The file of another amphora means that this disk was another one's: nothing of it counts.
        if self.current is not None and loaded.amphora_id == self.current.amphora_id:
            loaded = self._take_over(self.current, loaded)
        if loaded == self.current:
            return
        self.current = loaded
        names = ", ".join(str(controller) for controller in loaded.controllers)
        self._journal.info(
            f"amphora {loaded.amphora_id}: a heartbeat every {loaded.heartbeat_interval_s:g} s"
            f" to {names or 'nobody'}"
        )
        for entry in loaded.bad_controllers:
            self._journal.warning(
                f"{self._path}: [health_manager] controller_ip_port_list: {entry!r} is ignored,"
                " right would be ip:port or [ipv6]:port"
            )

    def _take_over(self, current: Settings, loaded: Settings) -> Settings:
        """Leave alone what takes effect at the next start; haproxy still runs in the old place."""
        waiting = ", ".join(settings.postponed(current, loaded))
        if waiting:
            self._journal.trouble("postponed", f"{waiting}: of effect at the next start only")
        else:
            self._journal.fine("postponed", "nothing waits for the next start any more")
        return settings.take_over(current, loaded)


class CounterFile:
    """The ledger's file."""

    def __init__(self, path: Path, journal: Journal) -> None:
        self.path = path
        self._journal = journal
        self._saved = Ledger()

    def load(self, sources: frozenset[str]) -> Ledger:
        """Read the ledger, with the accounts of all `sources` lost if the file is damaged."""
        try:
            self._saved = heartbeat.load(self.path.read_bytes())
        except FileNotFoundError:
            return Ledger()
        except ParseError as exc:
            aside = self.path.with_name(f"{self.path.name}.damaged")
            self._journal.warning(
                f"{self.path}: {exc}; kept as {aside.name}, traffic counts from now on"
            )
            try:
                files.rename(self.path, aside)
            except OSError as error:
                self._journal.warning(f"{self.path} cannot be renamed: {error}")
            return Ledger(lost=sources)
        except OSError as exc:
            self._journal.warning(f"{self.path} cannot be read: {exc}; traffic counts from now on")
            return Ledger(lost=sources)
        return self._saved

    def save(self, ledger: Ledger) -> None:
        """Write the ledger if it differs from the file; a failure is tried again the next time."""
        if ledger == self._saved:
            return
        try:
            files.write_atomic(self.path, heartbeat.dump(ledger), mode=_COUNTERS_MODE)
        except OSError as exc:
            self._journal.trouble("counters", f"{self.path} cannot be written", str(exc))
            return
        self._saved = ledger
        self._journal.fine("counters", f"{self.path} is written again")


class Sender:
    """What lasts from one heartbeat to the next."""

    def __init__(self, journal: Journal, datagrams: DatagramSender) -> None:
        self._journal = journal
        self._datagrams = datagrams
        self._counters: CounterFile | None = None
        self._ledger = Ledger()
        self._sequence = 0
        self._turn = 0
        self._failures: dict[Controller, int] = {}
        self._silent: frozenset[str] = frozenset()

    def beat(self, config: Settings) -> str:
        """Look at everything and send one heartbeat, or say why not.

        Returns:
            One line on how it went.
        """
        lb_ids = self._load_balancers(config.layout)
        if lb_ids is None:
            return "no heartbeat: the load balancers cannot be listed"
        sources = frozenset(heartbeat.haproxy_source(lb_id) for lb_id in lb_ids)
        self._open_ledger(config.layout, sources)
        with _interruptible():
            observations = self._collect(config, lb_ids)
        self._ledger = heartbeat.observe(self._ledger, observations, existing=sources)
        # From here to the saved ledger no signal may come in between: a message that has left
        # while the file says otherwise would be billed twice.
        reason = self._reason_for_silence(config)
        if reason:
            self._journal.trouble("silence", f"no heartbeat is sent: {reason}")
            outcome = f"no heartbeat: {reason}"
        else:
            self._journal.fine("silence", "heartbeats are sent again")
            outcome = self._send(config, observations)
        if self._counters is not None:
            self._counters.save(self._ledger)
        return outcome

    def _load_balancers(self, paths: Layout) -> list[str] | None:
        try:
            with os.scandir(paths.base) as entries:
                found = [entry.name for entry in entries if heartbeat.is_object_id(entry.name)]
            lb_ids = sorted(name for name in found if paths.haproxy_config(name).is_file())
        except FileNotFoundError:
            lb_ids = []
        except OSError as exc:
            self._journal.trouble("base", f"{paths.base} cannot be listed", str(exc))
            return None
        self._journal.fine("base", f"{paths.base} can be listed again")
        return lb_ids

    def _open_ledger(self, paths: Layout, sources: frozenset[str]) -> None:
        path = paths.stats_counters
        if self._counters is None or self._counters.path != path:
            self._counters = CounterFile(path, self._journal)
            self._ledger = self._counters.load(sources)

    def _collect(self, config: Settings, lb_ids: Sequence[str]) -> list[Observation]:
        """Ask every haproxy; one that does not answer is left out and holds up no other."""
        budget_s = min(config.heartbeat_interval_s / 2, _COLLECT_TIMEOUT_S)
        deadline_s = time.monotonic() + budget_s
        observations: list[Observation] = []
        silent: set[str] = set()
        # Those that failed the last time come last, so that they use up only what is left.
        order = sorted(lb_ids, key=lambda name: (name in self._silent, name))
        for waiting, lb_id in zip(range(len(order), 0, -1), order, strict=True):
            topic = f"haproxy {lb_id}"
            # Each gets its share of what is left, so that none is crowded out by those before it.
            timeout_s = min((deadline_s - time.monotonic()) / waiting, _QUERY_TIMEOUT_S)
            try:
                snapshot = _ask(config.layout.stats_socket(lb_id), timeout_s)
            except AgentError as exc:
                silent.add(lb_id)
                text = f"load balancer {lb_id} is not reported: {exc.message}"
                self._journal.trouble(topic, text, exc.details)
                continue
            self._journal.fine(topic, f"load balancer {lb_id} is reported again")
            observations.append(heartbeat.haproxy_observation(lb_id, snapshot))
        self._silent = frozenset(silent)
        return observations

    def _reason_for_silence(self, config: Settings) -> str:
        paths = config.layout
        if paths.keepalived_config.exists():
            pid_text = _read_text(paths.keepalived_pid)
            pid = heartbeat.parse_pid(pid_text or "")
            process_stat = _read_text(Path(f"/proc/{pid}/stat")) if pid else None
            fault = heartbeat.keepalived_fault(pid_text, process_stat)
            if fault:
                return f"keepalived is configured but does not run ({fault})"
        if config.heartbeat_key is None:
            return "[health_manager] heartbeat_key is not set"
        if not config.controllers:
            return "[health_manager] controller_ip_port_list has no usable entry"
        return ""

    def _send(self, config: Settings, observations: Sequence[Observation]) -> str:
        message = heartbeat.build(
            amphora_id=config.amphora_id,
            sequence=self._sequence,
            observations=observations,
            ledger=self._ledger,
        )
        self._sequence += 1
        data, left_out = heartbeat.fit(message, key=config.heartbeat_key or "")
        if left_out:
            self._journal.trouble(
                "size",
                f"the heartbeat is too large for one datagram, {left_out} are left out",
                f"the controller shows them as OFFLINE; {heartbeat.DATAGRAM_MAX} bytes are allowed",
            )
        else:
            self._journal.fine("size", "the whole heartbeat fits into one datagram again")
        controller = self._send_to_one(config, data)
        if controller is None:
            return "no heartbeat: it could not be sent to any controller"
        self._ledger = heartbeat.settle(self._ledger, observations)
        outcome = (
            f"heartbeat {message['seq']} to {controller}: {len(message['listeners'])} listeners,"
            f" {len(message['pools'])} pools, {len(data)} bytes"
        )
        if config.debug:
            self._journal.debug(outcome)
        return outcome

    def _send_to_one(self, config: Settings, data: bytes) -> Controller | None:
        """Send to the controller whose turn it is; the next ones stand in if that fails here.

        Never to two: they share one database, which would count the traffic twice. A local
        failure is no risk, as the kernel then has sent nothing.
        """
        for _ in config.controllers:
            controller = config.controllers[self._turn % len(config.controllers)]
            self._turn += 1
            topic = f"controller {controller}"
            try:
                self._datagrams.send(data, controller.host, controller.port, now_s=time.monotonic())
            except AgentError as exc:
                self._failures[controller] = self._failures.get(controller, 0) + 1
                self._journal.trouble(topic, exc.message, exc.details)
                continue
            failures = self._failures.pop(controller, 0)
            self._journal.fine(topic, f"{controller} is sent to again after {failures} failures")
            return controller
        return None


def main(argv: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; SIGHUP reads the configuration again.

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
    for number in _STOP_SIGNALS:
        signal.signal(number, _stop)
    # A name server that does not answer must not hold heartbeats up for the usual 10 s and more.
    os.environ.setdefault("RES_OPTIONS", "timeout:1 attempts:1")
    notifier = Notifier.from_environment(os.environ)
    notifier.ready("starting")
    journal = Journal()
    try:
        with DatagramSender() as datagrams:
            _run(ConfigFile(path, journal), Sender(journal, datagrams), journal, notifier)
    except _Stop:
        pass
    finally:
        notifier.stopping()
    return 0


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
                due_s = heartbeat.next_due(due_s, now_s=time.monotonic(), interval_s=interval_s)
        # SIGHUP ends the wait, and the file is looked at before anything else.
        if _wait(due_s, notifier) in _STOP_SIGNALS:
            return


def _beat(sender: Sender, config: Settings, journal: Journal) -> str:
    try:
        outcome = sender.beat(config)
    except Exception as exc:  # noqa: BLE001  # top of the loop
        # Whatever this is, the next heartbeat may work; a dead sender would mean a failover.
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


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a signal to stop end the sender at once in this block, whatever it waits for."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, _STOP_SIGNALS)


def _stop(number: int, frame: FrameType | None) -> None:
    del number, frame
    raise _Stop


def _ask(socket_path: Path, timeout_s: float) -> showstat.Snapshot:
    if timeout_s <= 0:
        raise AgentError("no time was left to ask its haproxy", "others took too long to answer")
    return showstat.parse(query(socket_path, showstat.QUERY, timeout_s=timeout_s))


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None


if __name__ == "__main__":
    sys.exit(main())
