# SPDX-License-Identifier: Apache-2.0
"""The process that serves the API: one event loop for all that wait, threads for requests.

gunicorn's own threaded worker shakes hands in its accept loop and reads heads in its request
threads, without deadlines, so that a few silent clients stop it. Here a connection costs no thread
until the head of a request is complete, and every wait has an end. Of gunicorn only what it offers
to makers of workers is used: the base class, the parser, and the writer of answers.
"""

import contextlib
import errno
import faulthandler
import logging
import os
import selectors
import signal
import socket
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from gunicorn.workers import base

from amphora_agent.errors import ConfigError
from amphora_agent.server_exchange import Exchange, refuse
from amphora_agent.system.connection import Connection, HeadTooLong, address_of
from amphora_agent.system.handshakes import Cause, Failures, cause_of
from amphora_agent.system.tls import ServerContexts

LOG = logging.getLogger(__name__)

_TICK_S = 1.0
_ACCEPTS_AT_ONCE = 16


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
    """

    handshake_s: float = 5.0
    head_s: float = 10.0
    progress_s: float = 10.0
    body_s: float = 180.0
    idle_s: float = 30.0
    idle: int = 32
    connections: int = 512
    threads: int = 8


@dataclass(frozen=True, kw_only=True, slots=True)
class Transport:
    """What a worker needs besides the application.

    Attributes:
        hang_up: called after SIGHUP.
        alive: called every second as long as the loop turns.
    """

    contexts: ServerContexts
    failures: Failures
    limits: Limits
    hang_up: Callable[[], object]
    alive: Callable[[], object]


@dataclass(slots=True)
class _Stage:
    """Connections that wait for the same thing, the longest waiting one first."""

    timeout_s: float
    deadlines: dict[Connection, float] = field(default_factory=dict)

    def add(self, connection: Connection) -> None:
        self.deadlines[connection] = time.monotonic() + self.timeout_s

    def first(self) -> tuple[Connection, float] | None:
        return next(iter(self.deadlines.items()), None)


class Worker(base.Worker):  # type: ignore[misc]  # gunicorn has no types
    """A gunicorn worker; its application has a `transport`."""

    def init_process(self) -> None:
        """See gunicorn."""
        transport: Transport = self.app.transport
        self._contexts = transport.contexts
        self._failures = transport.failures
        self._limits = limits = transport.limits
        self._hang_up = transport.hang_up
        self._hung_up = False
        self._alive = transport.alive
        self._alive_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="request")
        self._shaking = _Stage(limits.handshake_s)
        self._reading = _Stage(limits.head_s)
        self._idle = _Stage(limits.idle_s)
        self._running: set[Future[None]] = set()
        self._served: deque[tuple[Connection, bool]] = deque()
        super().init_process()

    def init_signals(self) -> None:
        """See gunicorn."""
        super().init_signals()
        signal.signal(signal.SIGHUP, self._note_hang_up)
        # What systemd sends to an agent that hangs: the journal is to say where.
        signal.signal(signal.SIGABRT, signal.SIG_DFL)
        faulthandler.enable()

    def handle_quit(self, *_: Any) -> None:
        """See gunicorn; SIGINT and SIGQUIT are no reason to break requests off, either."""
        self.alive = False

    def notify(self) -> None:
        """See gunicorn; to be called in every turn of the loop."""
        now = time.monotonic()
        if now >= self._alive_at:
            self._alive_at = now + _TICK_S
            self._alive()

    def run(self) -> None:
        """Serve until a signal ends it, then finish what runs."""
        self._exchange = Exchange(
            self.cfg,
            self.wsgi,
            progress_s=self._limits.progress_s,
            total_s=self._limits.body_s,
            closing=lambda: not self.alive,
        )
        # Signals and threads that are done write to the pipe.
        self._selector.register(self.PIPE[0], selectors.EVENT_READ, self._drain_pipe)
        for listener in self.sockets:
            listener.setblocking(False)
            self._selector.register(
                listener, selectors.EVENT_READ, partial(self._accept_some, listener)
            )
        while self.alive:
            self.notify()
            self._turn(self._pause_s())
            if self._hung_up:
                self._hung_up = False
                self._hang_up()
        self._finish()

    def _turn(self, pause_s: float) -> None:
        for key, _ in self._selector.select(pause_s):
            key.data()
        self._take_back()
        self._expire()
        self._failures.tell()

    def _pause_s(self) -> float:
        firsts = (stage.first() for stage in (self._shaking, self._reading, self._idle))
        next_deadline = min((first[1] for first in firsts if first), default=float("inf"))
        return min(_TICK_S, max(0.0, next_deadline - time.monotonic()))

    def _finish(self) -> None:
        for listener in self.sockets:
            self._selector.unregister(listener)
            listener.close()
        # Requests that have come while the last ones were looked at.
        self._turn(0)
        for stage in (self._shaking, self._reading, self._idle):
            for connection in list(stage.deadlines):
                self._drop(connection)
        self._pool.shutdown(wait=False)
        wait(self._running, timeout=self.cfg.graceful_timeout)
        self._take_back()
        if self._running:
            LOG.warning("Requests that still run are broken off: %d", len(self._running))
            # Otherwise the interpreter would wait for their threads.
            os._exit(0)

    # Stages of a connection

    def _accept_some(self, listener: socket.socket) -> None:
        # Not all there are: those that are connected must not wait for a flood of others.
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                sock, peer = listener.accept()
            except BlockingIOError:
                return
            except OSError as exc:
                if exc.errno in (errno.EMFILE, errno.ENFILE):
                    self._crowd_out()
                LOG.warning("No connection accepted: %s", exc)
                return
            if self._connections() >= self._limits.connections:
                self._crowd_out()
            try:
                connection = Connection(sock, peer, self._contexts.current())
            except ConfigError as exc:
                LOG.error("No connection can be served: %s", exc)
                sock.close()
            except OSError as exc:
                self._failures.record(cause_of(exc), address_of(peer), str(exc))
            else:
                self._shaking.add(connection)
                self._selector.register(
                    connection.sock, selectors.EVENT_READ, partial(self._shake, connection)
                )

    def _shake(self, connection: Connection) -> None:
        if connection not in self._shaking.deadlines:
            return  # crowded out while this event was waiting
        try:
            event = connection.handshake()
        except OSError as exc:
            self._failures.record(cause_of(exc), connection.client, str(exc))
            self._drop(connection)
            return
        if event:
            self._selector.modify(connection.sock, event, partial(self._shake, connection))
            return
        del self._shaking.deadlines[connection]
        self._reading.add(connection)
        self._selector.modify(
            connection.sock, selectors.EVENT_READ, partial(self._read, connection)
        )
        self._read(connection)

    def _read(self, connection: Connection) -> None:
        if connection in self._idle.deadlines:
            del self._idle.deadlines[connection]
            self._reading.add(connection)
        elif connection not in self._reading.deadlines:
            return  # crowded out while this event was waiting
        try:
            complete = connection.read_head()
        except HeadTooLong as exc:
            refuse(connection, str(exc))
            self._drop(connection)
        except OSError as exc:
            LOG.debug("%s went without a request: %s", connection.client, exc)
            self._drop(connection)
        else:
            if complete:
                self._submit(connection)

    def _submit(self, connection: Connection) -> None:
        del self._reading.deadlines[connection]
        self._selector.unregister(connection.sock)
        future = self._pool.submit(self._serve, connection)
        self._running.add(future)
        future.add_done_callback(self._running.discard)

    def _serve(self, connection: Connection) -> None:
        """In a thread of the pool."""
        keep = self._exchange.serve(connection)
        if not keep:
            connection.close()
        self._served.append((connection, keep))
        # A full pipe wakes the loop as well.
        with contextlib.suppress(BlockingIOError):
            os.write(self.PIPE[1], b".")

    def _take_back(self) -> None:
        while self._served:
            connection, keep = self._served.popleft()
            if not keep:
                continue
            if not self.alive:
                connection.close()
                continue
            while len(self._idle.deadlines) >= self._limits.idle:
                self._drop(next(iter(self._idle.deadlines)))
            self._idle.add(connection)
            self._selector.register(
                connection.sock, selectors.EVENT_READ, partial(self._read, connection)
            )
            # What has been read already would wake no selector.
            if not connection.silent:
                self._read(connection)

    # Ends of a connection

    def _expire(self) -> None:
        now = time.monotonic()
        for stage in (self._shaking, self._reading, self._idle):
            while (first := stage.first()) and first[1] <= now:
                if stage is self._shaking:
                    self._failures.record(Cause.TIMEOUT, first[0].client)
                elif stage is self._reading:
                    LOG.info("%s sent no complete request in time", first[0].client)
                self._drop(first[0])

    def _crowd_out(self) -> None:
        """Close the connection that is worth least."""
        for stage in (self._shaking, self._idle, self._reading):
            if first := stage.first():
                if stage is self._shaking:
                    self._failures.record(Cause.CROWDED_OUT, first[0].client)
                self._drop(first[0])
                return

    def _drop(self, connection: Connection) -> None:
        for stage in (self._shaking, self._reading, self._idle):
            stage.deadlines.pop(connection, None)
        self._selector.unregister(connection.sock)
        connection.close()

    # Housekeeping

    def _connections(self) -> int:
        waiting = (self._shaking, self._reading, self._idle)
        return sum(len(stage.deadlines) for stage in waiting) + len(self._running)

    def _drain_pipe(self) -> None:
        os.read(self.PIPE[0], 4096)

    def _note_hang_up(self, *_: Any) -> None:
        self._hung_up = True
