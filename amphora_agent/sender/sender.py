# SPDX-License-Identifier: Apache-2.0
"""One heartbeat after the other."""

import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from amphora_agent.heartbeat import gate, haproxy, ledger, lvs, message, size
from amphora_agent.heartbeat.ledger import Ledger
from amphora_agent.heartbeat.message import Message
from amphora_agent.heartbeat.observation import Observation
from amphora_agent.sender.counter_file import CounterFile
from amphora_agent.sender.haproxies import Haproxies
from amphora_agent.sender.journal import Journal
from amphora_agent.sender.lvs_listeners import LvsListeners
from amphora_agent.sender.sources import Sources
from amphora_agent.sender.status_file import Beat, Status, StatusFile
from amphora_agent.sender.transmission import Transmission
from amphora_agent.settings import Settings
from amphora_agent.system.proc import process_stat, read_text

# All haproxies together may take half a period, and never so long that systemd's watchdog (30 s)
# would take the sender for dead.
_COLLECT_TIMEOUT_S = 5.0

STOP_SIGNALS = frozenset({signal.SIGTERM, signal.SIGINT})


class Sender:
    """What lasts from one heartbeat to the next."""

    def __init__(
        self,
        journal: Journal,
        transmission: Transmission,
        lvs_sources: LvsListeners,
        status_file: StatusFile,
    ) -> None:
        self._journal = journal
        self._transmission = transmission
        self._haproxies = Haproxies(journal)
        self._lvs = lvs_sources
        self._status_file = status_file
        self._config: Settings | None = None
        self._sources: Sources | None = None
        self._counters: CounterFile | None = None
        self._ledger = Ledger()
        self._sequence = 0
        self._level = 0
        self._last: Beat | None = None

    def close(self) -> None:
        """Let go of what is held."""
        self._haproxies.close()
        if self._counters is not None:
            self._counters.close()

    def meet(self) -> None:
        """Something was reloaded: what a new worker counts is told, however short its life."""
        self._haproxies.meet()

    def beat(self, config: Settings) -> str:
        """Look at everything and send one heartbeat, or say why not.

        Returns:
            One line on how it went.
        """
        found = self._sources
        if found is None or config is not self._config:
            found = Sources(config.layout)
            self._config, self._sources = config, found
        paths = found.paths
        try:
            lb_ids, lvs_ids = found.load_balancers(), found.listeners()
        except OSError as exc:
            text = f"{paths.base} cannot be listed"
            self._journal.trouble("base", text, str(exc))
            self._write_status(config, silence=text, unreported=())
            return "no heartbeat: the load balancers cannot be listed"
        self._journal.fine("base", f"{paths.base} can be listed again")
        sources = frozenset([*map(haproxy.haproxy_source, lb_ids), *map(lvs.lvs_source, lvs_ids)])
        counters = self._open_ledger(found.counters, sources)
        # haproxy answers while the kernel is asked for the others.
        self._haproxies.ask(paths, lb_ids, interval_s=config.heartbeat_interval_s)
        observations = [
            *self._lvs.collect(paths, lvs_ids, self._ledger),
            *self._haproxies.collect(
                paths,
                self._ledger,
                timeout_s=min(config.heartbeat_interval_s / 2, _COLLECT_TIMEOUT_S),
                patience=_interruptible,
            ),
        ]
        self._ledger = ledger.observe(self._ledger, observations, existing=sources)
        # From here to the saved ledger no signal may come in between: a message that has left
        # while the file says otherwise would be billed twice. So signals are blocked, but in waits.
        silence = _reason_for_silence(config, found)
        if silence:
            self._journal.trouble("silence", f"no heartbeat is sent: {silence}")
            outcome = f"no heartbeat: {silence}"
        else:
            self._journal.fine("silence", "heartbeats are sent again")
            outcome = self._send(config, observations)
            silence = "" if outcome.startswith("heartbeat") else outcome
        counters.save(self._ledger)
        self._write_status(
            config,
            silence=silence,
            unreported=sorted(sources - {item.source for item in observations}),
        )
        return outcome

    def _open_ledger(self, path: Path, sources: frozenset[str]) -> CounterFile:
        if self._counters is None or self._counters.path != path:
            if self._counters is not None:
                self._counters.close()
            self._counters = CounterFile(path, self._journal)
            self._ledger = self._counters.load(sources)
        return self._counters

    def _send(self, config: Settings, observations: Sequence[Observation]) -> str:
        built = message.build(
            amphora_id=config.amphora_id,
            sequence=self._sequence,
            observations=observations,
            ledger=self._ledger,
            version=message.version_for(
                configured=config.heartbeat_version,
                is_per_listener=self._haproxies.is_per_listener,
            ),
        )
        self._sequence += 1
        data, self._level = size.fit(
            built,
            key=config.heartbeat_key or "",
            limit=config.heartbeat_max_bytes,
            level=self._level,
        )
        self._say_size(config)
        controller = self._transmission.send(data, config.controllers)
        if controller is None:
            return "no heartbeat: it could not be sent to any controller"
        self._ledger = ledger.settle(self._ledger, observations)
        self._last = Beat(
            sequence=built["seq"],
            message_version=built["ver"],
            controller=str(controller),
            bytes=len(data),
            listeners=len(built["listeners"]),
            pools=sum(len(item.pools) for item in observations),
            members=_members(observations),
            left_out=size.left_out(self._level),
        )
        outcome = _outcome(built, self._last)
        if config.debug:
            self._journal.debug(outcome)
        return outcome

    def _say_size(self, config: Settings) -> None:
        left_out = size.left_out(self._level)
        if left_out:
            self._journal.trouble(
                "size",
                f"the heartbeat is too large for one datagram: left out are {left_out}",
                f"{config.heartbeat_max_bytes} bytes are allowed; listeners are never left out",
            )
        else:
            self._journal.fine("size", "the whole heartbeat fits into one datagram again")

    def _write_status(self, config: Settings, *, silence: str, unreported: Sequence[str]) -> None:
        self._status_file.write(
            Status(
                amphora_id=config.amphora_id,
                interval_s=config.heartbeat_interval_s,
                silence=silence,
                unreported=tuple(unreported),
                last=self._last,
                controllers=self._transmission.tallies,
            )
        )


def _reason_for_silence(config: Settings, sources: Sources) -> str:
    if sources.keepalived_config.exists():
        pid_text = read_text(sources.paths.keepalived_pid)
        pid = gate.parse_pid(pid_text or "")
        fault = gate.keepalived_fault(pid_text, process_stat(pid) if pid else None)
        if fault:
            return f"keepalived is configured but does not run ({fault})"
    if config.heartbeat_key is None:
        return "[health_manager] heartbeat_key is not set"
    if not config.controllers:
        return "[health_manager] controller_ip_port_list has no usable entry"
    return ""


def _members(observations: Sequence[Observation]) -> int:
    return sum(len(pool.members) for item in observations for pool in item.pools.values())


def _outcome(sent: Message, beat: Beat) -> str:
    return (
        f"heartbeat {sent['seq']} to {beat.controller}: {beat.listeners} listeners,"
        f" {beat.pools} pools, {beat.bytes} bytes"
    )


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let a signal to stop end the sender at once in this block, whatever it waits for."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
