# SPDX-License-Identifier: Apache-2.0
"""One HTTP request and its answer on a connection, with gunicorn's parser and writer."""

import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gunicorn import util
from gunicorn.http import RequestParser, wsgi
from gunicorn.http.body import LengthReader
from gunicorn.http.errors import ParseException

from amphora_agent.system.connection import Connection

LOG = logging.getLogger(__name__)

# Of a body that the application did not read; more is not worth keeping the connection for.
_DISCARD_MAX_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Incoming:
    """A request whose head is there.

    Attributes:
        parser, request: gunicorn's.
        size: of the body in bytes; None when only its end tells (chunked).
        ends_at: when the body must be there, by the monotonic clock.
    """

    parser: Any
    request: Any
    size: int | None
    ends_at: float


class Exchange:
    """Serves requests that come in on connections whose head is complete.

    Args:
        config: gunicorn's.
        application: the WSGI application.
        progress_s, total_s: see Connection.block.
        closing: asked once a request whether the connection must close after it.
    """

    def __init__(
        self,
        config: Any,
        application: Callable[..., Any],
        *,
        progress_s: float,
        total_s: float,
        closing: Callable[[], bool],
    ) -> None:
        self._config = config
        self._application = application
        self._progress_s = progress_s
        self._total_s = total_s
        self._closing = closing

    def begin(self, connection: Connection) -> Incoming | None:
        """Parse a complete head, without waiting for anything; None when it was refused."""
        try:
            parser = RequestParser(self._config, connection, connection.peer)
            request = next(parser)
        except ParseException as exc:
            LOG.info("Bad request from %s: %s", connection.client, exc)
            refuse(connection, str(exc))
            return None
        except OSError as exc:
            LOG.info("Request from %s broke off: %s", connection.client, exc)
            return None
        connection.give_back(_leftover(parser))
        reader = request.body.reader
        return Incoming(
            parser=parser,
            request=request,
            size=reader.length if isinstance(reader, LengthReader) else None,
            ends_at=time.monotonic() + self._total_s,
        )

    def receive(self, connection: Connection, incoming: Incoming) -> bool:
        """Take what has come of a body of known size; whether all of it is there.

        Raises:
            OSError: the client is gone.
        """
        if connection.read_body(incoming.size or 0):
            return True
        headers = incoming.request.headers
        if any(name == "EXPECT" and value.lower() == "100-continue" for name, value in headers):
            connection.sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        # Once is enough; gunicorn would say it again when the application begins.
        incoming.request.headers = [(name, value) for name, value in headers if name != "EXPECT"]
        return False

    def serve(self, connection: Connection, incoming: Incoming) -> bool:
        """Answer one request; whether the connection can take another one."""
        try:
            connection.block(progress_s=self._progress_s, total_s=self._total_s)
            if not self._respond(incoming.request, connection):
                return False
            connection.give_back(_leftover(incoming.parser))
            connection.unblock()
        except ParseException as exc:
            LOG.info("Bad request from %s: %s", connection.client, exc)
            refuse(connection, str(exc))
            return False
        except OSError as exc:
            LOG.info("Request from %s broke off: %s", connection.client, exc)
            return False
        except Exception:
            LOG.exception("Request from %s failed", connection.client)
            return False
        return True

    def _respond(self, request: Any, connection: Connection) -> bool:
        response, environ = wsgi.create(
            request, connection.sock, connection.peer, connection.local, self._config
        )
        environ["wsgi.multithread"] = True

        def start_response(*arguments: Any) -> Any:
            # Not before: the agent may have been told to stop while the application worked.
            if self._closing():
                response.force_close()
            return response.start_response(*arguments)

        chunks = self._application(environ, start_response)
        try:
            for chunk in chunks:
                response.write(chunk)
            response.close()
        finally:
            if hasattr(chunks, "close"):
                chunks.close()
        return _discard(request.body) and not response.should_close()


def refuse(connection: Connection, description: str) -> None:
    """Answer a request that the application cannot be asked, in the shape that it has."""
    # A controller takes only 400 as a refusal of what was sent; see amphora_agent.errors.
    body = json.dumps({"error": f"400 Bad Request: {description}", "http_code": 400}).encode()
    head = (
        "HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Type: application/json\r\n"
        f"Date: {util.http_date()}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    try:
        connection.sock.sendall(head.encode() + body)
    except OSError as exc:
        LOG.debug("Answer to %s broke off: %s", connection.client, exc)


def _discard(body: Any) -> bool:
    """Read the rest of a body, so that the client gets to read its answer; whether all was read."""
    left = _DISCARD_MAX_BYTES
    while left > 0:
        data = body.read(_CHUNK_BYTES)
        if not data:
            return True
        left -= len(data)
    return False


def _leftover(parser: Any) -> bytes:
    """What the parser read beyond the request."""
    unreader = parser.unreader
    # With its source dry, the reader gives what it holds.
    unreader.chunk = bytes
    try:
        return bytes(unreader.read())
    finally:
        del unreader.chunk
