# SPDX-License-Identifier: Apache-2.0
"""Asks every haproxy, and the workers that a reload has replaced."""

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from amphora_agent import showstat
from amphora_agent.errors import AgentError
from amphora_agent.heartbeat import haproxy
from amphora_agent.heartbeat.ledger import Ledger
from amphora_agent.heartbeat.observation import Observation
from amphora_agent.layout import Layout
from amphora_agent.sender.journal import Journal
from amphora_agent.system.haproxy_socket import query

# One haproxy may take this long to answer.
_QUERY_TIMEOUT_S = 2.0
# An old worker's traffic is worth less waiting: it is asked again the next time.
_OLD_WORKER_TIMEOUT_S = 0.5


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
    """What lasts from one look at every haproxy to the next."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._silent: frozenset[str] = frozenset()
        # By load balancer: the worker that had no old ones beside it when that was last asked.
        self._alone: dict[str, str] = {}
        self._per_listener: frozenset[str] = frozenset()

    @property
    def is_per_listener(self) -> bool:
        """Whether the controller gave each listener a haproxy of its own (API 0.5)."""
        return bool(self._per_listener)

    def collect(
        self, paths: Layout, lb_ids: Sequence[str], ledger: Ledger, *, deadline_s: float
    ) -> list[Observation]:
        """Ask every haproxy; one that does not answer is left out and holds up no other.

        Args:
            ledger: tells which workers were seen before.
            deadline_s: time.monotonic() by which all must have answered.
        """
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
                snapshot = _ask(paths.stats_socket(lb_id), showstat.QUERY, until_s)
            except AgentError as exc:
                silent.add(lb_id)
                text = f"load balancer {lb_id} is not reported: {exc.message}"
                self._journal.trouble(topic, text, exc.details)
                continue
            self._journal.fine(topic, f"load balancer {lb_id} is reported again")
            observation = haproxy.haproxy_observation(lb_id, snapshot)
            if observation.is_per_listener:
                per_listener.add(lb_id)
            account = ledger.accounts.get(observation.source)
            seen = account.totals if account is not None else {}
            observations.append(
                self._with_old_workers(paths, lb_id, observation, seen, until_s=until_s)
            )
        self._silent = frozenset(silent)
        self._alone = {name: worker for name, worker in self._alone.items() if name in order}
        self._per_listener = self._per_listener.intersection(order) | per_listener
        return observations

    def _with_old_workers(
        self,
        paths: Layout,
        lb_id: str,
        observation: Observation,
        seen: Mapping[str, object],
        *,
        until_s: float,
    ) -> Observation:
        """Add what old workers count, if there may be any.

        The master is asked only after a change of workers and as long as there are old ones.
        """
        [current] = observation.counters
        if self._alone.get(lb_id) == current and seen.keys() <= {current}:
            return observation
        topic = f"old workers {lb_id}"
        socket_path = paths.master_socket(lb_id)
        try:
            answer = query_by(socket_path, showstat.PROCESSES_QUERY, until_s)
            pids = showstat.parse_old_workers(answer)
        except AgentError as exc:
            # They may well be there: what they counted before must not be counted again later.
            self._journal.trouble(topic, f"old workers of {lb_id} cannot be asked", str(exc))
            return haproxy.with_old_workers(observation, (), silent=seen.keys())
        snapshots = []
        for pid in pids:
            before_s = min(until_s, time.monotonic() + _OLD_WORKER_TIMEOUT_S)
            try:
                snapshots.append(_ask(socket_path, showstat.old_worker_query(pid), before_s))
            except AgentError as exc:
                # It has just ended, or hangs.
                text = f"an old worker of {lb_id} does not answer"
                self._journal.trouble(topic, text, f"process {pid}: {exc}")
        if not pids:
            self._alone[lb_id] = current
            self._journal.fine(topic, f"{lb_id} has no old workers any more")
        return haproxy.with_old_workers(
            observation, snapshots, silent=haproxy.names_of(seen, frozenset(pids))
        )


def query_by(socket_path: Path, command: str, deadline_s: float) -> str:
    """Ask a haproxy with a deadline of time.monotonic().

    Raises:
        AgentError: nobody answered by then.
    """
    timeout_s = deadline_s - time.monotonic()
    if timeout_s <= 0:
        raise AgentError("no time was left to ask its haproxy", "others took too long to answer")
    return query(socket_path, command, timeout_s=timeout_s)


def _ask(socket_path: Path, command: str, deadline_s: float) -> showstat.Snapshot:
    return showstat.parse(query_by(socket_path, command, deadline_s))
