# SPDX-License-Identifier: Apache-2.0
"""One heartbeat after the other."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from amphora_agent import showstat
from amphora_agent.errors import AgentError
from amphora_agent.heartbeat import gate, ledger
from amphora_agent.heartbeat import haproxy as haproxies
from amphora_agent.heartbeat import message as messages
from amphora_agent.heartbeat.ledger import Ledger
from amphora_agent.heartbeat.observation import Observation
from amphora_agent.layout import Layout
from amphora_agent.sender.counter_file import CounterFile
from amphora_agent.sender.journal import Journal
from amphora_agent.settings import Controller, Settings
from amphora_agent.system.datagram import DatagramSender
from amphora_agent.system.haproxy_socket import query

# One haproxy may take this long to answer; all of them together half a period, and never so long
# that systemd's watchdog (30 s) would take the sender for dead.
_QUERY_TIMEOUT_S = 2.0

_COLLECT_TIMEOUT_S = 5.0

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


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
        sources = frozenset(haproxies.haproxy_source(lb_id) for lb_id in lb_ids)
        self._open_ledger(config.layout, sources)
        with _interruptible():
            observations = self._collect(config, lb_ids)
        self._ledger = ledger.observe(self._ledger, observations, existing=sources)
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
                found = [entry.name for entry in entries if haproxies.is_object_id(entry.name)]
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
            observations.append(haproxies.haproxy_observation(lb_id, snapshot))
        self._silent = frozenset(silent)
        return observations

    def _reason_for_silence(self, config: Settings) -> str:
        paths = config.layout
        if paths.keepalived_config.exists():
            pid_text = _read_text(paths.keepalived_pid)
            pid = gate.parse_pid(pid_text or "")
            process_stat = _read_text(Path(f"/proc/{pid}/stat")) if pid else None
            fault = gate.keepalived_fault(pid_text, process_stat)
            if fault:
                return f"keepalived is configured but does not run ({fault})"
        if config.heartbeat_key is None:
            return "[health_manager] heartbeat_key is not set"
        if not config.controllers:
            return "[health_manager] controller_ip_port_list has no usable entry"
        return ""

    def _send(self, config: Settings, observations: Sequence[Observation]) -> str:
        message = messages.build(
            amphora_id=config.amphora_id,
            sequence=self._sequence,
            observations=observations,
            ledger=self._ledger,
        )
        self._sequence += 1
        data, left_out = messages.fit(message, key=config.heartbeat_key or "")
        if left_out:
            self._journal.trouble(
                "size",
                f"the heartbeat is too large for one datagram, {left_out} are left out",
                f"the controller shows them as OFFLINE; {messages.DATAGRAM_MAX} bytes are allowed",
            )
        else:
            self._journal.fine("size", "the whole heartbeat fits into one datagram again")
        controller = self._send_to_one(config, data)
        if controller is None:
            return "no heartbeat: it could not be sent to any controller"
        self._ledger = ledger.settle(self._ledger, observations)
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


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a signal to stop end the sender at once in this block, whatever it waits for."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)


def _ask(socket_path: Path, timeout_s: float) -> showstat.Snapshot:
    if timeout_s <= 0:
        raise AgentError("no time was left to ask its haproxy", "others took too long to answer")
    return showstat.parse(query(socket_path, showstat.QUERY, timeout_s=timeout_s))


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
