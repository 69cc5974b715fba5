# SPDX-License-Identifier: Apache-2.0
"""Asks every haproxy, and the workers that a reload has replaced."""

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from amphora_agent import showstat
from amphora_agent.errors import AgentError
from amphora_agent.heartbeat import haproxy
from amphora_agent.heartbeat.ledger import Ledger
from amphora_agent.heartbeat.observation import Observation
from amphora_agent.layout import Layout
from amphora_agent.sender.haproxy_workers import Look, Workers, wait
from amphora_agent.sender.journal import Journal
from amphora_agent.showstat import Snapshot
from amphora_agent.system.haproxy_socket import query

# Workers may take this long to answer, and this part of the time: the rest is for masters.
_WORKERS_TIMEOUT_S = 2.0
_SHARE_OF_WORKERS = 0.8
# Most answers are there within a millisecond.
_SHORT_WAIT_S = 0.05
# An old worker's traffic is worth less waiting: it is asked again the next time.
_OLD_WORKER_TIMEOUT_S = 0.5
# haproxy closes a connection on which nothing was asked for two periods and this. Longer than a
# worker hangs before the controller replaces the amphora: its own clock goes on meanwhile.
_IDLE_SPARE_S = 300.0


class Haproxies:
    """What lasts from one look at every haproxy to the next.

    The master of a haproxy is asked for workers to which there is no connection, because they were
    replaced before there was one.
    """

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._workers: dict[str, Workers] = {}
        # By load balancer: the worker that had no old ones beside it when that was last asked.
        self._alone: dict[str, str] = {}
        self._per_listener: frozenset[str] = frozenset()

    @property
    def is_per_listener(self) -> bool:
        """Whether the controller gave each listener a haproxy of its own (API 0.5)."""
        return bool(self._per_listener)

    def close(self) -> None:
        """Let every worker go."""
        for workers in self._workers.values():
            workers.close()
        self._workers.clear()

    def meet(self) -> None:
        """Keep workers that are new for the next look, even if a reload replaces them before."""
        for workers in self._workers.values():
            workers.meet()

    def ask(self, paths: Layout, lb_ids: Sequence[str], *, interval_s: float) -> None:
        """Ask every haproxy how it is; `collect` reads the answers.

        Args:
            interval_s: to the next question.
        """
        for lb_id in self._workers.keys() - set(lb_ids):
            self._workers.pop(lb_id).close()
        for lb_id in lb_ids:
            if lb_id not in self._workers:
                self._workers[lb_id] = Workers(paths.stats_socket(lb_id))
            self._workers[lb_id].ask(idle_s=2 * interval_s + _IDLE_SPARE_S)

    def collect(
        self,
        paths: Layout,
        ledger: Ledger,
        *,
        timeout_s: float,
        patience: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> list[Observation]:
        """What was asked; a haproxy that does not answer is left out and holds up no other.

        Args:
            ledger: tells which workers were seen before.
            timeout_s: for all of them together.
            patience: entered for waits that are long.
        """
        begin_s = time.monotonic()
        share_s = min(timeout_s * _SHARE_OF_WORKERS, _WORKERS_TIMEOUT_S)
        looks = list(self._workers.values())
        if not wait(looks, begin_s + min(share_s / 2, _SHORT_WAIT_S)):
            with patience():
                # One that hangs must leave time for the one that may have replaced it.
                wait(looks, begin_s + share_s / 2)
                for workers in looks:
                    workers.doubt()
                wait(looks, begin_s + share_s)
        observations: list[Observation] = []
        per_listener: set[str] = set()
        for lb_id, workers in self._workers.items():
            topic = f"haproxy {lb_id}"
            look = workers.finish()
            for error in look.ended:
                self._journal.info(f"an old worker of {lb_id} has ended unread: {error}")
            if isinstance(look.current, AgentError):
                text = f"load balancer {lb_id} is not reported: {look.current.message}"
                self._journal.trouble(topic, text, look.current.details)
                continue
            self._journal.fine(topic, f"load balancer {lb_id} is reported again")
            observation = haproxy.haproxy_observation(lb_id, look.current)
            if observation.is_per_listener:
                per_listener.add(lb_id)
            account = ledger.accounts.get(observation.source)
            seen = account.totals if account is not None else {}
            if self._may_have_old_workers(lb_id, observation, look, seen):
                master = _Master(paths.master_socket(lb_id), begin_s + timeout_s)
                with patience():
                    observation = self._with_old_workers(lb_id, master, observation, look, seen)
            observations.append(observation)
        self._alone = {name: item for name, item in self._alone.items() if name in self._workers}
        self._per_listener = self._per_listener.intersection(self._workers) | per_listener
        return observations

    def _may_have_old_workers(
        self, lb_id: str, observation: Observation, look: Look, seen: Mapping[str, object]
    ) -> bool:
        """Only after a change of workers, and as long as there are old ones.

        Args:
            seen: names of the workers that were seen before.
        """
        [current] = observation.counters
        is_alone = self._alone.get(lb_id) == current and seen.keys() <= {current}
        return bool(look.replaced or look.behind) or not is_alone

    def _with_old_workers(
        self,
        lb_id: str,
        master: "_Master",
        observation: Observation,
        look: Look,
        seen: Mapping[str, object],
    ) -> Observation:
        """Add what old workers count."""
        [current] = observation.counters
        reached = {item.worker.pid for item in look.replaced} | {item.pid for item in look.behind}
        topic = f"old workers {lb_id}"
        try:
            pids = set(master.old_workers())
        except AgentError as exc:
            # They may well be there: what they counted before must not be counted again later.
            self._journal.trouble(topic, f"old workers of {lb_id} cannot be asked", str(exc))
            return haproxy.with_old_workers(observation, look.replaced, silent=seen.keys())
        snapshots = list(look.replaced)
        for pid in pids - reached:
            try:
                snapshots.append(master.old_worker(pid))
            except AgentError as exc:
                # It has just ended, or hangs.
                self._journal.info(f"an old worker of {lb_id} does not answer: {pid}: {exc}")
        if not pids:
            self._alone[lb_id] = current
        self._journal.fine(topic, f"old workers of {lb_id} can be asked again")
        return haproxy.with_old_workers(
            observation, snapshots, silent=haproxy.names_of(seen, pids | reached)
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


def _remaining(until_s: float) -> float:
    timeout_s = until_s - time.monotonic()
    if timeout_s <= 0:
        raise AgentError("no time was left to ask its haproxy", "others took too long to answer")
    return timeout_s
