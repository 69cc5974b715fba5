# SPDX-License-Identifier: Apache-2.0
"""The health manager's ear: collects heartbeat datagrams and when each arrived.

It does not understand them; Octavia's own code opens them (tests.support.octavia_driver).
"""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address

from tests.support import waiting
from tests.support.netns import Namespace

PORT = 5555
_DATAGRAM_MAX_BYTES = 65536
_POLL_S = 0.2
_KEPT = 10_000


@dataclass(frozen=True, kw_only=True, slots=True)
class Datagram:
    """One datagram; `arrived` is on the clock of time.monotonic()."""

    arrived: float
    payload: bytes
    sender: str


class Listener:
    """A UDP socket and what came in."""

    def __init__(self, ear: socket.socket) -> None:
        self._socket = ear
        self._socket.settimeout(_POLL_S)
        self._received: list[Datagram] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._collect, daemon=True)
        self._thread.start()

    def received(self) -> list[Datagram]:
        """Everything so far, oldest first."""
        return list(self._received)

    def wait_for(self, count: int, *, deadline_s: float) -> list[Datagram]:
        """Wait until `count` datagrams have come in altogether."""
        return waiting.until(
            f"heartbeat number {count}",
            lambda: self.received() if len(self._received) >= count else None,
            deadline_s=deadline_s,
            every_s=0.1,
        )

    def next(self, *, deadline_s: float) -> Datagram:
        """Wait for a datagram that has not come yet."""
        seen = len(self._received)
        return self.wait_for(seen + 1, deadline_s=deadline_s)[seen]

    def close(self) -> None:
        """Stop listening."""
        self._ended.set()
        self._thread.join()
        self._socket.close()

    def _collect(self) -> None:
        while not self._ended.is_set() and len(self._received) < _KEPT:
            try:
                payload, sender = self._socket.recvfrom(_DATAGRAM_MAX_BYTES)
            except TimeoutError:
                continue
            self._received.append(
                Datagram(arrived=time.monotonic(), payload=payload, sender=str(sender[0]))
            )


@contextmanager
def listener(inside: Namespace, address: IPv4Address, port: int = PORT) -> Iterator[Listener]:
    """Listen at an address of a namespace."""
    with inside.entered():
        ear = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    ear.bind((str(address), port))
    opened = Listener(ear)
    try:
        yield opened
    finally:
        opened.close()
