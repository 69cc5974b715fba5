# SPDX-License-Identifier: Apache-2.0
"""Members that answer with their names, and a client that asks through the VIP."""

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from socketserver import TCPServer

from tests.support.netns import Namespace

_CLIENT_DEADLINE_S = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """Status and text of one response."""

    status: int
    text: str


class _Server(ThreadingHTTPServer):
    def server_bind(self) -> None:
        """Bind without asking for the name of the address: a namespace has no name server."""
        TCPServer.server_bind(self)


@contextmanager
def http_member(
    inside: Namespace, name: str, address: IPv4Address, port: int = 80
) -> Iterator[None]:
    """Serve HTTP at an address of a namespace; every answer is `name`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = name.encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Keep the test's output quiet."""

    with inside.entered():
        server = _Server((str(address), port), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def fetch(
    inside: Namespace,
    address: IPv4Address,
    port: int,
    path: str = "/",
    *,
    connect_s: float = _CLIENT_DEADLINE_S,
) -> Answer:
    """Ask once, on a connection of its own.

    Args:
        connect_s: seconds that the connection may take.

    Raises:
        OSError: nobody answered.
    """
    connection = http.client.HTTPConnection(str(address), port, timeout=connect_s)
    try:
        with inside.entered():
            connection.connect()
        connection.sock.settimeout(_CLIENT_DEADLINE_S)
        connection.request("GET", path)
        response = connection.getresponse()
        return Answer(status=response.status, text=response.read().decode())
    finally:
        connection.close()
