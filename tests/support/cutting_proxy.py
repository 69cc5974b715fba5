# SPDX-License-Identifier: Apache-2.0
"""Connections that break in the middle of what is said."""

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum, auto

from tests.support.netns import Namespace

_DEADLINE_S = 20
_BLOCK_BYTES = 64


class Breaks(Enum):
    """What breaks.

    CONNECTION: nothing more is passed on, either way.
    ANSWER: the request gets there, and its answer does not come back.
    EVERYTHING: as CONNECTION, and nobody can connect any more.
    """

    CONNECTION = auto()
    ANSWER = auto()
    EVERYTHING = auto()


@dataclass(kw_only=True, slots=True)
class Proxy:
    """Passes connections on, one after the other.

    Attributes:
        port: where it listens on loopback.
        sent: bytes that the client of each connection so far has sent.
        broken: how many connections broke.
    """

    port: int
    sent: list[int] = field(default_factory=list)
    broken: int = 0
    _next: tuple[Breaks, int] | None = None

    def break_next(self, what: Breaks, *, after_bytes: int) -> None:
        """Let the next connection break when its client has sent so much."""
        self._next = what, after_bytes

    def take(self) -> tuple[Breaks, int] | None:
        """What the connection that has just come shall suffer."""
        found, self._next = self._next, None
        return found


@contextmanager
def cutting_proxy(inside: Namespace, to_port: int) -> Iterator[Proxy]:
    """A proxy on loopback of a namespace."""
    with inside.entered():
        listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(_DEADLINE_S)
    proxy = Proxy(port=listener.getsockname()[1])

    def serve() -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                fault = proxy.take()
                if fault and fault[0] is Breaks.EVERYTHING:
                    listener.shutdown(socket.SHUT_RDWR)
                with inside.entered():
                    server = socket.create_connection(("127.0.0.1", to_port), _DEADLINE_S)
                with client, server:
                    _pass_on(proxy, client, server, fault)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield proxy
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        thread.join()
        listener.close()


def _pass_on(
    proxy: Proxy, client: socket.socket, server: socket.socket, fault: tuple[Breaks, int] | None
) -> None:
    silent = threading.Event()
    back = threading.Thread(target=_copy_back, args=(server, client, silent))
    client.settimeout(_DEADLINE_S)
    server.settimeout(_DEADLINE_S)
    back.start()
    proxy.sent.append(0)
    with contextlib.suppress(OSError):
        while block := client.recv(_BLOCK_BYTES):
            proxy.sent[-1] += len(block)
            if fault and proxy.sent[-1] >= fault[1] and not silent.is_set():
                silent.set()
                proxy.broken += 1
                if fault[0] is not Breaks.ANSWER:
                    break
            server.sendall(block)
    _close(server)
    back.join()


def _copy_back(server: socket.socket, client: socket.socket, silent: threading.Event) -> None:
    with contextlib.suppress(OSError):
        while block := server.recv(65536):
            if silent.is_set():
                break
            client.sendall(block)
    _close(client)


def _close(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
