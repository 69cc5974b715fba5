# SPDX-License-Identifier: Apache-2.0
"""Connections that wait in the server's loop: for what, how long, and who goes first."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import takewhile

from amphora_agent.system.connection import Connection


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """How long and how many; times in seconds.

    Attributes:
        handshake_s: from the first packet to a verified client.
        head_s: from then, or from the first byte on a kept connection, to a complete head.
        progress_s: between two packets of a body, and for each write of an answer.
        body_s: for the whole body.
        idle_s: how long a connection is kept between two requests.
        idle: how many are kept so.
        connections: how many clients there may be; one more crowds out the longest waiting one.
        threads: requests served at once.
        body_bytes: of a body that is received before its request gets a thread.
        bodies_bytes: of all bodies together that are so received and wait for a thread; one byte
            more crowds out the body that did not grow for the longest time.
        slow_threads: requests served at once whose body a thread has to receive.
    """

    handshake_s: float = 5.0
    head_s: float = 10.0
    progress_s: float = 10.0
    body_s: float = 180.0
    idle_s: float = 30.0
    idle: int = 32
    connections: int = 512
    threads: int = 8
    body_bytes: int
    # An amphora has 1 GB, and Octavia's bodies are far below 1 MiB, one or two at a time.
    bodies_bytes: int = 64 * 1024 * 1024
    slow_threads: int = 2


class Stage:
    """Connections that wait for the same thing, the longest waiting one first.

    Args:
        timeout_s: how long each may wait.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._deadlines: dict[Connection, float] = {}

    def __len__(self) -> int:
        return len(self._deadlines)

    def __contains__(self, connection: Connection) -> bool:
        return connection in self._deadlines

    def __iter__(self) -> Iterator[Connection]:
        """All, in a list of its own: they may be removed meanwhile."""
        return iter(list(self._deadlines))

    def add(self, connection: Connection) -> None:
        """Let one wait; one that waits already does so anew."""
        self._deadlines.pop(connection, None)
        self._deadlines[connection] = time.monotonic() + self._timeout_s

    def remove(self, connection: Connection) -> None:
        """Let it wait no longer, if it does."""
        self._deadlines.pop(connection, None)

    def first(self) -> tuple[Connection, float] | None:
        """The one that waits for the longest time, and its deadline by the monotonic clock."""
        return next(iter(self._deadlines.items()), None)

    def overdue(self) -> list[Connection]:
        """Those whose deadline has passed."""
        now = time.monotonic()
        return [
            connection
            for connection, _deadline in takewhile(
                lambda waits: waits[1] <= now, self._deadlines.items()
            )
        ]


class Waiting:
    """All stages.

    Attributes:
        shaking: for the end of the handshake.
        reading: for a complete head.
        bodies: for the next bytes of a body.
        idle: for the next request.
    """

    def __init__(self, limits: Limits) -> None:
        self.shaking = Stage(limits.handshake_s)
        self.reading = Stage(limits.head_s)
        self.bodies = Stage(limits.progress_s)
        self.idle = Stage(limits.idle_s)
        # What is worth least is first.
        self._stages = (self.shaking, self.idle, self.reading, self.bodies)

    def __len__(self) -> int:
        return sum(len(stage) for stage in self._stages)

    def remove(self, connection: Connection) -> None:
        """Let it wait no longer."""
        for stage in self._stages:
            stage.remove(connection)

    def pause_s(self) -> float:
        """Until the next deadline; infinite when nobody waits."""
        firsts = (stage.first() for stage in self._stages)
        next_deadline = min((first[1] for first in firsts if first), default=float("inf"))
        return max(0.0, next_deadline - time.monotonic())

    def overdue(self) -> list[Connection]:
        """Those whose deadlines have passed."""
        return [connection for stage in self._stages for connection in stage.overdue()]

    def least(self) -> Connection | None:
        """The connection that is worth least."""
        firsts = (stage.first() for stage in self._stages)
        return next((first[0] for first in firsts if first), None)
