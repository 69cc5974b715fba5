# SPDX-License-Identifier: Apache-2.0
"""Asks every haproxy, and the workers that a reload has replaced."""

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from amphora_agent import showstat
from amphora_agent.errors import AgentError
from amphora_agent.heartbeat import haproxy
from amphora_agent.heartbeat.ledger import Ledger
from amphora_agent.heartbeat.observation import Observation
from amphora_agent.layout import Layout
from amphora_agent.sender.journal import Journal
from amphora_agent.settings import Settings
from amphora_agent.showstat import Snapshot
from amphora_agent.system.haproxy_socket import Conversation, query

# One haproxy may take this long to answer.
_QUERY_TIMEOUT_S = 2.0
# An old worker's traffic is worth less waiting: it is asked again the next time.
_OLD_WORKER_TIMEOUT_S = 0.5
# haproxy closes a connection on which nothing was asked for two periods and this.
_IDLE_SPARE_S = 10.0


def load_balancers(paths: Layout) -> list[str]:
    """Those with a haproxy configuration, in the order of their ids.

    Raises:
        OSError: they cannot be listed.
    """
    try:
        with os.scandir(paths.base) as entries:
            found = [entry.name for entry in entries if haproxy.is_object_id(entry.name)]
    except FileNotFoundError:
        return []
    return sorted(name for name in found if paths.haproxy_config(name).is_file())


class Haproxies:
    """What lasts from one look at every haproxy to the next.

    A connection to each worker is kept, also when a reload replaces it, until its last client has
    gone: haproxy counts most bytes when a connection ends, and an old worker ends with its last
    one, so that otherwise nobody could read what it counted then. The master is asked for workers
    to which there is no connection, because they were replaced before there was one.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._silent: frozenset[str] = frozenset()
        self._held: dict[str, Conversation] = {}
        self._replaced: dict[str, list[Conversation]] = {}
        # By load balancer: the worker that had no old ones beside it when that was last asked.
        self._alone: dict[str, str] = {}
        self._per_listener: frozenset[str] = frozenset()

    @property
    def is_per_listener(self) -> bool:
        """Whether the controller gave each listener a haproxy of its own (API 0.5)."""
        return bool(self._per_listener)

    def close(self) -> None:
        """Let every worker go."""
        for lb_id in self._held.keys() | self._replaced.keys():
            self._let_go(lb_id)

    def _let_go(self, lb_id: str) -> None:
        held = self._held.pop(lb_id, None)
        for conversation in [*self._replaced.pop(lb_id, []), *([held] if held else [])]:
            conversation.close()

    def collect(
        self, config: Settings, lb_ids: Sequence[str], ledger: Ledger, *, deadline_s: float
    ) -> list[Observation]:
        """Ask every haproxy; one that does not answer is left out and holds up no other.

        Args:
            ledger: tells which workers were seen before.
            deadline_s: time.monotonic() by which all must have answered.
        """
        for lb_id in (self._held.keys() | self._replaced.keys()) - set(lb_ids):
            self._let_go(lb_id)
        observations: list[Observation] = []
        silent: set[str] = set()
        per_listener: set[str] = set()
        # Those that failed the last time come last, so that they use up only what is left.
        order = sorted(lb_ids, key=lambda name: (name in self._silent, name))
        for waiting, lb_id in zip(range(len(order), 0, -1), order, strict=True):
            topic = f"haproxy {lb_id}"
            # Each gets its share of what is left, so that none is crowded out by those before it.
            share_s = (deadline_s - time.monotonic()) / waiting
            until_s = time.monotonic() + min(share_s, _QUERY_TIMEOUT_S)
            try:
                current = self._look(config, lb_id, until_s)
            except AgentError as exc:
                silent.add(lb_id)
                text = f"load balancer {lb_id} is not reported: {exc.message}"
                self._journal.trouble(topic, text, exc.details)
                continue
            self._journal.fine(topic, f"load balancer {lb_id} is reported again")
            observation = haproxy.haproxy_observation(lb_id, current)
            if observation.is_per_listener:
                per_listener.add(lb_id)
            account = ledger.accounts.get(observation.source)
            observations.append(
                self._with_old_workers(
                    lb_id,
                    _Master(config.layout.master_socket(lb_id), until_s),
                    observation,
                    account.totals if account is not None else {},
                )
            )
        self._silent = frozenset(silent)
        self._alone = {name: worker for name, worker in self._alone.items() if name in order}
        self._per_listener = self._per_listener.intersection(order) | per_listener
        return observations

    def _look(self, config: Settings, lb_id: str, until_s: float) -> Snapshot:
        """Ask the worker that is held; another one if that is being replaced or does not answer.

        Raises:
            AgentError: no worker answers.
        """
        held = self._held.pop(lb_id, None)
        if held is not None:
            try:
                # One that hangs must leave time for the one that may have replaced it.
                half_s = (until_s - time.monotonic()) / 2
                answer = _ask(held, until_s - half_s)
            except AgentError:
                held.close()
            else:
                if not answer.worker.is_stopping:
                    self._held[lb_id] = held
                    return answer
                self._replaced.setdefault(lb_id, []).append(held)
        fresh = Conversation(
            config.layout.stats_socket(lb_id),
            idle_s=2 * config.heartbeat_interval_s + _IDLE_SPARE_S,
            timeout_s=_remaining(until_s),
        )
        try:
            answer = _ask(fresh, until_s)
        except AgentError:
            fresh.close()
            raise
        self._held[lb_id] = fresh
        return answer

    def _ask_replaced(self, lb_id: str, until_s: float) -> list[Snapshot]:
        """What the replaced workers say to which there is a connection; done ones are let go."""
        snapshots = []
        kept = []
        for conversation in self._replaced.pop(lb_id, []):
            try:
                before_s = min(until_s, time.monotonic() + _OLD_WORKER_TIMEOUT_S)
                snapshot = _ask(conversation, before_s)
            except AgentError as exc:
                self._journal.info(f"an old worker of {lb_id} does not answer: {exc}")
                conversation.close()
                continue
            snapshots.append(snapshot)
            if snapshot.is_done:
                conversation.close()
            else:
                kept.append(conversation)
        if kept:
            self._replaced[lb_id] = kept
        return snapshots

    def _with_old_workers(
        self,
        lb_id: str,
        master: "_Master",
        observation: Observation,
        seen: Mapping[str, object],
    ) -> Observation:
        """Add what old workers count, if there may be any.

        The master is asked only after a change of workers and as long as there are old ones.
        """
        [current] = observation.counters
        snapshots = self._ask_replaced(lb_id, master.until_s)
        if not snapshots and self._alone.get(lb_id) == current and seen.keys() <= {current}:
            return observation
        topic = f"old workers {lb_id}"
        try:
            pids = master.old_workers()
        except AgentError as exc:
            # They may well be there: what they counted before must not be counted again later.
            self._journal.trouble(topic, f"old workers of {lb_id} cannot be asked", str(exc))
            return haproxy.with_old_workers(observation, snapshots, silent=seen.keys())
        for pid in set(pids) - {snapshot.worker.pid for snapshot in snapshots}:
            try:
                snapshots.append(master.old_worker(pid))
            except AgentError as exc:
                # It has just ended, or hangs.
                self._journal.info(f"an old worker of {lb_id} does not answer: {pid}: {exc}")
        if not pids:
            self._alone[lb_id] = current
        self._journal.fine(topic, f"old workers of {lb_id} can be asked again")
        return haproxy.with_old_workers(
            observation, snapshots, silent=haproxy.names_of(seen, frozenset(pids))
        )


@dataclass(frozen=True, slots=True)
class _Master:
    """The master of one haproxy, and the time.monotonic() by which it must have answered."""

    socket_path: Path
    until_s: float

    def old_workers(self) -> list[int]:
        """Process ids of workers that were replaced and still serve.

        Raises:
            AgentError: it does not answer, or not what it should.
        """
        timeout_s = _remaining(self.until_s)
        return showstat.parse_old_workers(
            query(self.socket_path, showstat.PROCESSES_QUERY, timeout_s=timeout_s)
        )

    def old_worker(self, pid: int) -> Snapshot:
        """What one of them says.

        Raises:
            AgentError: as `old_workers`.
        """
        timeout_s = min(_remaining(self.until_s), _OLD_WORKER_TIMEOUT_S)
        command = showstat.old_worker_query(pid)
        return showstat.parse(query(self.socket_path, command, timeout_s=timeout_s))


def _ask(conversation: Conversation, until_s: float) -> Snapshot:
    answers = [
        conversation.ask(command, timeout_s=_remaining(until_s)) for command in showstat.QUERIES
    ]
    return showstat.parse("".join(answers))


def _remaining(until_s: float) -> float:
    timeout_s = until_s - time.monotonic()
    if timeout_s <= 0:
        raise AgentError("no time was left to ask its haproxy", "others took too long to answer")
    return timeout_s
