# SPDX-License-Identifier: Apache-2.0
"""haproxy's exporter of metrics, asked over HTTP.

http.client would do it, and would be most of the memory and time of the program that asks.
"""

import socket
from collections.abc import Iterator

from amphora_agent.errors import AgentError, ParseError

# Between two packets: haproxy makes its metrics piece by piece, as they are read.
_PROGRESS_S = 5.0
_LINE_MAX_BYTES = 8 * 1024
_HEADERS_MAX = 100
_PIECE_BYTES = 64 * 1024

_QUESTION = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def metrics(address: tuple[str, int]) -> Iterator[bytes]:
    """What the exporter says, in pieces.

    Raises:
        AgentError: nobody listens, nothing came for some seconds, or what came is not the whole of
            an answer with status 200.
    """
    try:
        yield from _metrics(address)
    except OSError as exc:
        raise AgentError("haproxy does not tell its metrics", str(exc)) from exc


def _metrics(address: tuple[str, int]) -> Iterator[bytes]:
    with (
        socket.create_connection(address, timeout=_PROGRESS_S) as connection,
        connection.makefile("rb") as stream,
    ):
        connection.sendall(_QUESTION)
        status, *_ = stream.readline(_LINE_MAX_BYTES).split(b" ", 2)[1:] or [b""]
        if status != b"200":
            raise ParseError(f"haproxy answered with status {status.decode(errors='replace')!r}")
        headers = [stream.readline(_LINE_MAX_BYTES).strip().lower()]
        while headers[-1] and len(headers) < _HEADERS_MAX:
            headers.append(stream.readline(_LINE_MAX_BYTES).strip().lower())
        if b"transfer-encoding: chunked" not in headers:
            raise ParseError("haproxy's answer is not chunked, so that its end is not known")
        while size := _chunk_size(stream.readline(_LINE_MAX_BYTES)):
            while size:
                piece = stream.read(min(size, _PIECE_BYTES))
                if not piece:
                    raise ParseError("haproxy's answer broke off")
                size -= len(piece)
                yield piece
            stream.readline(_LINE_MAX_BYTES)


def _chunk_size(line: bytes) -> int:
    try:
        return int(line.partition(b";")[0], 16)
    except ValueError as exc:
        raise ParseError("haproxy's answer broke off") from exc
