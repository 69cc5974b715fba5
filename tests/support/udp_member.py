# SPDX-License-Identifier: Apache-2.0
"""Members that answer datagrams with their names, and a client that asks through the VIP."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address

from tests.support.netns import Namespace

_POLL_S = 0.2
_CLIENT_DEADLINE_S = 2.0


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
