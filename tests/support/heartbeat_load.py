# SPDX-License-Identifier: Apache-2.0
"""Clients of a load balancer that count what they get, and what heartbeats tell of it."""

import itertools
import random
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from tests.support import waiting
from tests.support.heartbeat_haproxy import Haproxy
from tests.support.heartbeat_lab import DEADLINE_S, Opener
from tests.support.heartbeats import Listener
from tests.support.metronome import Stall, stalled_s

_REQUESTS_PER_S = 40
REQUEST_MAX_BYTES = 3000


@dataclass(frozen=True, kw_only=True, slots=True)
class Sums:
    """Bytes from and to clients, and connections."""

    rx: int = 0
    tx: int = 0
    count: int = 0

    def __add__(self, other: "Sums") -> "Sums":
        return Sums(rx=self.rx + other.rx, tx=self.tx + other.tx, count=self.count + other.count)

    def __sub__(self, other: "Sums") -> "Sums":
        return Sums(rx=self.rx - other.rx, tx=self.tx - other.tx, count=self.count - other.count)


class Load:
    """Asks one listener again and again, and counts what went over the wire."""

    def __init__(self, haproxy: Haproxy) -> None:
        self.haproxy = haproxy
        self.done = Sums()
        self.failed = 0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._ended.wait(1 / _REQUESTS_PER_S):
            size = random.randint(1, REQUEST_MAX_BYTES)
            try:
                received = self._ask(size)
            except OSError:
                received = 0
            # The member answers with what it got, twice.
            if received == 2 * size:
                self.done += Sums(rx=size, tx=received, count=1)
            else:
                self.failed += 1

    def _ask(self, size: int) -> int:
        """Send so many bytes; how many came back."""
        address = ("127.0.0.1", self.haproxy.port)
        with socket.create_connection(address, timeout=DEADLINE_S) as connection:
            connection.sendall(b"x" * size)
            connection.shutdown(socket.SHUT_WR)
            received = 0
            while chunk := connection.recv(65536):
                received += len(chunk)
        return received


class _Echo(socketserver.StreamRequestHandler):
    """Answers with all that it was sent, twice."""

    def handle(self) -> None:
        with suppress(OSError):
            self.wfile.write(self.rfile.read() * 2)


@contextmanager
def member() -> Iterator[int]:
    """A member on loopback; its port."""
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Echo) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield int(server.server_address[1])
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def load(haproxy: Haproxy) -> Iterator[Load]:
    """Clients of one listener."""
    made = Load(haproxy)
    try:
        yield made
    finally:
        made.stop()


class Told:
    """What the heartbeats say, added up as the controller does."""

    def __init__(self, heard: Listener, octavia: Opener) -> None:
        self._heard = heard
        self._octavia = octavia
        self._read = 0
        self._sums: dict[str, Sums] = {}

    def of(self, haproxy: Haproxy) -> Sums:
        """The sums of a listener in all heartbeats so far."""
        fresh = self._heard.received()[self._read :]
        self._read += len(fresh)
        for item in fresh:
            for name, entry in self._octavia.message(item.payload)["listeners"].items():
                stats = entry["stats"]
                self._sums[name] = self._sums.get(name, Sums()) + Sums(
                    rx=stats["rx"], tx=stats["tx"], count=stats["totconns"]
                )
        return self._sums.get(haproxy.listener, Sums())

    def await_sessions(self, haproxy: Haproxy, count: int) -> None:
        """Wait until so many new sessions have been told, and no more."""
        waiting.until(
            f"{count} sessions",
            lambda: True if self.of(haproxy).count >= count else None,
            deadline_s=DEADLINE_S,
            every_s=0.1,
        )
        assert self.of(haproxy).count == count

    def longest_pause_s(self, stalls: list[Stall]) -> float:
        """The longest time between two heartbeats, without that of the machine's own stalls."""
        times = [item.arrived for item in self._heard.received()]
        return max(
            after - before - stalled_s(stalls, before, after)
            for before, after in itertools.pairwise(times)
        )

    def wait_for_look(self) -> None:
        """Wait until everything has been asked that there is now: the next one may be too early."""
        self.wait(2)

    def wait(self, heartbeats: int) -> None:
        """Wait for so many more heartbeats."""
        self._heard.wait_for(len(self._heard.received()) + heartbeats, deadline_s=DEADLINE_S)
