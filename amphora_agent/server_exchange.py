# SPDX-License-Identifier: Apache-2.0
"""One HTTP request and its answer on a connection, with gunicorn's parser and writer."""

import json
import logging
from collections.abc import Callable
from typing import Any

from gunicorn import util
from gunicorn.http import RequestParser, wsgi
from gunicorn.http.errors import ParseException

from amphora_agent.system.connection import Connection

LOG = logging.getLogger(__name__)

# Of a body that the application did not read; more is not worth keeping the connection for.
_DISCARD_MAX_BYTES = 64 * 1024 * 1024
_CHUNK_BYTES = 64 * 1024


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

    def serve(self, connection: Connection) -> bool:
        """Answer one request; whether the connection can take another one."""
        try:
            connection.block(progress_s=self._progress_s, total_s=self._total_s)
            parser = RequestParser(self._config, connection, connection.peer)
            request = next(parser)
            if not self._respond(request, connection):
                return False
            connection.unblock(_leftover(parser))
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
    # With its source dry, the reader gives what it holds.
    parser.unreader.chunk = bytes
    return bytes(parser.unreader.read())
