# SPDX-License-Identifier: Apache-2.0
"""The process that serves the API: one event loop for all that wait, threads for requests.

gunicorn's own threaded worker shakes hands in its accept loop and reads heads in its request
threads, without deadlines, so that a few silent clients stop it. Here a connection costs no thread
until a request is complete, its body included, and every wait has an end. Of gunicorn only what it
offers to makers of workers is used: the base class, the parser, and the writer of answers.

Two kinds of bodies still need a thread while they come, and have few of their own, so that they
wait for each other alone: chunked ones, which no controller sends and only gunicorn's own reader,
which waits, is to take apart; and too large ones, which are refused by their length and thrown
away. The other bodies are held in memory and never spilled: they may be keys, which must not reach
the disk. When they become too many, the connection that stalls goes; its controller tries again,
whereas a refusal would be final.
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
from dataclasses import dataclass
from functools import partial
from typing import Any

from gunicorn.workers import base

from amphora_agent.errors import ConfigError
from amphora_agent.server_exchange import Exchange, Incoming, refuse
from amphora_agent.server_waiting import Limits, Waiting
from amphora_agent.system.connection import Connection, HeadTooLong, address_of
from amphora_agent.system.handshakes import Cause, Failures, cause_of
from amphora_agent.system.tls import ServerContexts

LOG = logging.getLogger(__name__)

_TICK_S = 1.0
_HOUR_S = 3600.0
_ACCEPTS_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Transport:
    """What a worker needs besides the application.

    Attributes:
        hang_up: called after SIGHUP.
        alive: called every second as long as the loop turns.
        hourly: called in a thread at the start, and then every hour.
    """

    contexts: ServerContexts
    failures: Failures
    limits: Limits
    hang_up: Callable[[], object]
    alive: Callable[[], object]
    hourly: Callable[[], object]


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
        self._hourly = transport.hourly
        self._hourly_at = 0.0
        self._selector = selectors.DefaultSelector()
        self._pool = ThreadPoolExecutor(limits.threads, thread_name_prefix="request")
        self._slow_pool = ThreadPoolExecutor(limits.slow_threads, thread_name_prefix="slow")
        self._waiting = Waiting(limits)
        # With the bytes that each one's body holds.
        self._running: dict[Future[None], int] = {}
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
        if now >= self._hourly_at:
            self._hourly_at = now + _HOUR_S
            self._pool.submit(self._do_hourly)

    def _do_hourly(self) -> None:
        """In a thread of the pool."""
        try:
            self._hourly()
        except Exception:
            LOG.exception("What is due every hour failed")

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
        return min(_TICK_S, self._waiting.pause_s())

    def _finish(self) -> None:
        for listener in self.sockets:
            self._selector.unregister(listener)
            listener.close()
        end = time.monotonic() + self.cfg.graceful_timeout
        # Requests that have come while the last ones were looked at.
        self._turn(0)
        for stage in (self._waiting.shaking, self._waiting.reading, self._waiting.idle):
            for connection in stage:
                self._drop(connection)
        # Those whose head is there were begun.
        while self._waiting.bodies and (left_s := end - time.monotonic()) > 0:
            self._turn(min(left_s, self._pause_s()))
        for connection in self._waiting.bodies:
            LOG.warning("Request from %s is broken off within its body", connection.client)
            self._drop(connection)
        self._pool.shutdown(wait=False)
        self._slow_pool.shutdown(wait=False)
        wait(list(self._running), timeout=max(0.0, end - time.monotonic()))
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
                self._waiting.shaking.add(connection)
                self._selector.register(
                    connection.sock, selectors.EVENT_READ, partial(self._shake, connection)
                )

    def _shake(self, connection: Connection) -> None:
        if connection not in self._waiting.shaking:
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
        self._waiting.shaking.remove(connection)
        self._waiting.reading.add(connection)
        self._selector.modify(
            connection.sock, selectors.EVENT_READ, partial(self._read, connection)
        )
        self._read(connection)

    def _read(self, connection: Connection) -> None:
        if connection in self._waiting.idle:
            self._waiting.idle.remove(connection)
            self._waiting.reading.add(connection)
        elif connection not in self._waiting.reading:
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
                self._begin(connection)

    def _begin(self, connection: Connection) -> None:
        incoming = self._exchange.begin(connection)
        if incoming is None:
            self._drop(connection)
        elif incoming.size is None or incoming.size > self._limits.body_bytes:
            self._submit(connection, incoming, self._slow_pool)
        elif incoming.size <= connection.held:
            self._submit(connection, incoming, self._pool)
        else:
            self._waiting.reading.remove(connection)
            self._waiting.bodies.add(connection)
            self._selector.modify(
                connection.sock, selectors.EVENT_READ, partial(self._receive, connection, incoming)
            )
            self._receive(connection, incoming)

    def _receive(self, connection: Connection, incoming: Incoming) -> None:
        if connection not in self._waiting.bodies:
            return  # crowded out while this event was waiting
        try:
            complete = self._exchange.receive(connection, incoming)
        except OSError as exc:
            LOG.info("Request from %s broke off: %s", connection.client, exc)
            self._drop(connection)
            return
        self._waiting.bodies.add(connection)
        self._bound_bodies()
        if connection not in self._waiting.bodies:
            return
        if complete:
            self._submit(connection, incoming, self._pool)
        elif time.monotonic() >= incoming.ends_at:
            self._end_body(connection)

    def _bound_bodies(self) -> None:
        queued = sum(size for future, size in list(self._running.items()) if not future.running())
        coming = {connection: connection.held for connection in self._waiting.bodies}
        excess = queued + sum(coming.values()) - self._limits.bodies_bytes
        for connection, held in coming.items():
            if excess <= 0:
                return
            LOG.warning("Body of %s is crowded out by other bodies", connection.client)
            self._drop(connection)
            excess -= held

    def _submit(self, connection: Connection, incoming: Incoming, pool: ThreadPoolExecutor) -> None:
        self._waiting.remove(connection)
        self._selector.unregister(connection.sock)
        held = connection.held
        future = pool.submit(self._serve, connection, incoming)
        self._running[future] = held
        future.add_done_callback(self._running.pop)

    def _serve(self, connection: Connection, incoming: Incoming) -> None:
        """In a thread of a pool."""
        keep = self._exchange.serve(connection, incoming)
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
            idle = self._waiting.idle
            while len(idle) >= self._limits.idle and (first := idle.first()):
                self._drop(first[0])
            idle.add(connection)
            self._selector.register(
                connection.sock, selectors.EVENT_READ, partial(self._read, connection)
            )
            # What has been read already would wake no selector.
            if not connection.silent:
                self._read(connection)

    # Ends of a connection

    def _expire(self) -> None:
        for connection in self._waiting.overdue():
            if connection in self._waiting.bodies:
                self._end_body(connection)
                continue
            if connection in self._waiting.shaking:
                self._failures.record(Cause.TIMEOUT, connection.client)
            elif connection in self._waiting.reading:
                LOG.info("%s sent no complete request in time", connection.client)
            self._drop(connection)

    def _end_body(self, connection: Connection) -> None:
        LOG.info("%s sent no complete body in time", connection.client)
        refuse(connection, "the body of the request did not come in time")
        self._drop(connection)

    def _crowd_out(self) -> None:
        """Close the connection that is worth least."""
        if connection := self._waiting.least():
            if connection in self._waiting.shaking:
                self._failures.record(Cause.CROWDED_OUT, connection.client)
            self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        self._waiting.remove(connection)
        self._selector.unregister(connection.sock)
        connection.close()

    # Housekeeping

    def _connections(self) -> int:
        return len(self._waiting) + len(self._running)

    def _drain_pipe(self) -> None:
        os.read(self.PIPE[0], 4096)

    def _note_hang_up(self, *_: Any) -> None:
        self._hung_up = True
