# SPDX-License-Identifier: Apache-2.0
"""The workers of one haproxy: the one that serves, and those that a reload has replaced.

A connection to each worker is kept, also when a reload replaces it, until its last client has gone:
haproxy counts most bytes when a connection ends, and an old worker ends with its last one, so that
otherwise nobody could read what it counted then. A worker that does not answer, because it hangs or
the machine is busy, keeps its connection, too: what it has counted is read when it goes on, even if
it was replaced meanwhile.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from amphora_agent import showstat
from amphora_agent.errors import AgentError
from amphora_agent.showstat import Snapshot, Worker
from amphora_agent.system.conversation import Conversation, readable

# A worker that ends while it is asked has a successor; more than two in one look are a fault.
_CONNECTIONS_PER_LOOK = 3
# haproxy lets ten in at its stats socket (stats maxconn), and others have questions, too.
_MEETINGS_PER_LOOK = 4


class Talk:
    """What is asked and answered on one connection.

    Attributes:
        worker: who answers there; None before the first answer.
        snapshot: the answer of this look, when it has come.
        error: why there will be none.
    """

    def __init__(self, socket_path: Path, *, idle_s: float) -> None:
        """Connect.

        Raises:
            AgentError: nobody listens.
        """
        self.worker: Worker | None = None
        self.snapshot: Snapshot | None = None
        self.error: AgentError | None = None
        self._conversation = Conversation(socket_path, idle_s=idle_s)
        self.fileno = self._conversation.fileno
        self.close = self._conversation.close

    @property
    def is_waiting(self) -> bool:
        """Whether an answer is still to come."""
        return self.snapshot is None and self.error is None

    @property
    def is_behind(self) -> bool:
        """Whether the question of an earlier look has yet to be answered."""
        return self._conversation.is_behind

    def ask(self) -> None:
        """Begin another look."""
        self.snapshot = None
        # Who answers is known, and that it still serves is seen from its frontends.
        known = () if self.worker is None else (showstat.STAT_QUERY,)
        try:
            self._conversation.ask(*(known or (showstat.INFO_QUERY, showstat.STAT_QUERY)))
        except AgentError as exc:
            self.error = exc

    def receive(self) -> None:
        """Take what has come."""
        try:
            answers = self._conversation.receive()
            if answers is not None:
                self._take(answers)
        except AgentError as exc:
            self.error = exc

    def _take(self, answers: Sequence[str]) -> None:
        *info, stat = answers
        if info or self.worker is None:
            self.worker = showstat.parse_info("".join(info))
        frontends, backends = showstat.parse_stat(stat)
        snapshot = Snapshot(worker=self.worker, frontends=frontends, backends=backends)
        if info or self.worker.is_stopping or snapshot.is_serving:
            self.snapshot = snapshot
        else:
            self._conversation.ask(showstat.INFO_QUERY, showstat.STAT_QUERY)


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What one look at the workers of a haproxy found.

    Attributes:
        current: what the worker that serves says, or why none does.
        replaced: what replaced workers say.
        behind: replaced workers that are alive, but do not answer.
        ended: replaced workers that ended before all was read that they counted.
    """

    current: Snapshot | AgentError
    replaced: list[Snapshot] = field(default_factory=list)
    behind: list[Worker] = field(default_factory=list)
    ended: list[AgentError] = field(default_factory=list)


class Workers:
    """Connections to the workers of one haproxy; one look at them after the other."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path
        self._current: Talk | None = None
        # To whoever accepts now, while the current one is behind: it may have been replaced.
        self._other: Talk | None = None
        self._replaced: list[Talk] = []
        self._error: AgentError | None = None
        self._idle_s = 0.0
        self._connections = 0
        self._meetings = 0

    def meet(self) -> None:
        """Keep whoever accepts now for the next look, even if it is replaced before that."""
        if self._meetings == _MEETINGS_PER_LOOK:
            return
        self._meetings += 1
        try:
            # Whether it is the one that serves or an old one shows when it is asked.
            self._replaced.append(Talk(self._path, idle_s=self._idle_s))
        except AgentError:
            # The next look says what is wrong.
            return

    def ask(self, *, idle_s: float) -> None:
        """Begin a look; nothing is waited for.

        Args:
            idle_s: how long haproxy shall wait for the next look.
        """
        self._idle_s = idle_s
        self._connections = self._meetings = 0
        self._error = None
        lasting = self._current
        for talk in self._all():
            talk.ask()
        self._settle()
        if lasting is not None and lasting is self._current and lasting.is_behind:
            self.doubt()

    def doubt(self) -> None:
        """The current worker takes long: ask whoever accepts now, too."""
        if self._other is None and self._current is not None and self._current.is_waiting:
            self._connect()

    def awaited(self) -> list[Talk]:
        """Those whose answers are worth waiting for.

        Not a replaced worker that did not answer in an earlier look: it hangs, and its counters are
        as good in a later one.
        """
        talks = []
        if self._current is not None and self._current.is_waiting:
            talks.append(self._current)
            if self._other is not None:
                talks.append(self._other)
        for talk in self._replaced:
            if talk.is_waiting and not talk.is_behind:
                talks.append(talk)
        return talks

    def receive(self, talk: Talk) -> None:
        """Take what has come on one connection, and do what follows from it."""
        talk.receive()
        self._settle()

    def finish(self) -> Look:
        """End a look: let those go that have ended, or cannot count any more."""
        current = self._current.snapshot if self._current is not None else None
        if self._other is not None:
            self._other.close()
            self._other = None
        look = Look(
            current=current or self._error or AgentError("haproxy did not answer in time", "")
        )
        for talk in self._replaced.copy():
            if current is not None and talk.worker == current.worker:
                # It was met, and nobody has replaced it.
                talk.close()
                self._replaced.remove(talk)
                continue
            if talk.snapshot is not None:
                look.replaced.append(talk.snapshot)
            elif talk.error is not None:
                look.ended.append(talk.error)
            elif talk.worker is not None:
                look.behind.append(talk.worker)
            # Nothing of a look without a current worker is counted, so that all is read once more.
            is_read = current is not None and talk.snapshot is not None and talk.snapshot.is_done
            if is_read or talk.error is not None:
                talk.close()
                self._replaced.remove(talk)
        return look

    def close(self) -> None:
        """Let every worker go."""
        for talk in self._all():
            talk.close()

    def _all(self) -> list[Talk]:
        lasting = [self._current, self._other, *self._replaced]
        return [talk for talk in lasting if talk is not None]

    def _connect(self) -> None:
        """Ask whoever accepts now."""
        if self._connections == _CONNECTIONS_PER_LOOK:
            return
        self._connections += 1
        try:
            talk = Talk(self._path, idle_s=self._idle_s)
        except AgentError as exc:
            self._error = exc
            return
        talk.ask()
        if talk.error is not None:
            self._drop(talk)
        elif self._current is None:
            self._current = talk
        else:
            self._other = talk

    def _settle(self) -> None:
        """Find the worker that serves among those that have answered."""
        other, current = self._other, self._current
        if other is not None and other.error is not None:
            self._drop(other)
            self._other = None
        elif other is not None and other.snapshot is not None and current is not None:
            if other.worker == current.worker:
                current.close()
            else:
                self._replaced.append(current)
            self._current, self._other = other, None
        while (current := self._current) is not None:
            if current.error is not None:
                self._drop(current)
            elif current.snapshot is not None and current.snapshot.worker.is_stopping:
                self._replaced.append(current)
            else:
                return
            self._current, self._other = self._other, None
        self._connect()

    def _drop(self, talk: Talk) -> None:
        self._error = talk.error
        talk.close()


def wait(looks: Sequence[Workers], until_s: float) -> bool:
    """Take what all of them say, until there is nothing more to wait for.

    Args:
        until_s: time.monotonic() at which it ends in any case.

    Returns:
        Whether nothing is awaited any more.
    """
    while True:
        waiting = {}
        for workers in looks:
            for talk in workers.awaited():
                waiting[talk.fileno()] = (workers, talk)
        if not waiting:
            return True
        remaining_s = until_s - time.monotonic()
        if remaining_s <= 0:
            return False
        for handle in readable(waiting, timeout_s=remaining_s):
            workers, talk = waiting[handle]
            workers.receive(talk)
