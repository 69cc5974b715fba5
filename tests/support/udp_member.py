# SPDX-License-Identifier: Apache-2.0
"""Members that answer datagrams with their names, and a client that asks through the VIP."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from tests.support.netns import Namespace

_POLL_S = 0.2
_CLIENT_DEADLINE_S = 2.0
_FLOW_EVERY_S = 0.1


@contextmanager
def udp_member(inside: Namespace, name: str, address: IPv4Address, port: int) -> Iterator[None]:
    """Answer every datagram to an address of a namespace with `name`."""
    with inside.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((str(address), port))
    sock.settimeout(_POLL_S)
    ended = threading.Event()

    def serve() -> None:
        while not ended.is_set():
            try:
                _data, client = sock.recvfrom(2048)
            except TimeoutError:
                continue
            sock.sendto(name.encode(), client)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        sock.close()


def ask(inside: Namespace, address: IPv4Address, port: int) -> str | None:
    """Send one datagram from a port of its own; the answer, or None when none came."""
    with inside.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(_CLIENT_DEADLINE_S)
        sock.connect((str(address), port))
        try:
            sock.send(b"who")
            return sock.recv(2048).decode()
        except (TimeoutError, ConnectionRefusedError):
            return None


class Flow:
    """Datagrams of a client that go on, one after the other, from one port."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        self._ended = threading.Event()
        self._answers: list[str | None] = []
        self._thread = threading.Thread(target=self._go_on, daemon=True)
        self._thread.start()

    def answers(self) -> list[str | None]:
        """Who answered each datagram so far; None for one that nobody answered."""
        return list(self._answers)

    def _go_on(self) -> None:
        while not self._ended.is_set():
            try:
                self._socket.send(b"who")
                self._answers.append(self._socket.recv(2048).decode())
            except (TimeoutError, ConnectionRefusedError):
                self._answers.append(None)
            time.sleep(_FLOW_EVERY_S)

    def end(self) -> None:
        """Send no more."""
        self._ended.set()
        self._thread.join()


@contextmanager
def flow(inside: Namespace, address: IPv4Address, port: int) -> Iterator[Flow]:
    """Send datagrams all the time, from a namespace."""
    with inside.entered():
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with sock:
        sock.settimeout(_CLIENT_DEADLINE_S)
        sock.connect((str(address), port))
        going = Flow(sock)
        try:
            yield going
        finally:
            going.end()
