# SPDX-License-Identifier: Apache-2.0
"""One question and one answer of HTTP/1.1 on a connection, for programs that answer little else.

http.server would do it; importing it takes longer than most of these programs run.
"""

import socket

_HEAD_MAX_BYTES = 16 * 1024
_PROGRESS_S = 10.0


class BadQuestionError(Exception):
    """What came is not a question that can be answered; its text says why."""


class Reply:
    """The answer to the question that comes in on a connection.

    All methods raise OSError when the client is gone or does not go on within ten seconds.
    """

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._chunked = False
        connection.settimeout(_PROGRESS_S)

    def read_question(self) -> None:
        """Take in the head of a GET; its path does not matter, and there is no body.

        Raises:
            BadQuestionError: it is another method, or not HTTP.
        """
        head = b""
        while b"\r\n\r\n" not in head:
            data = self._connection.recv(_HEAD_MAX_BYTES)
            head += data
            if not data or len(head) > _HEAD_MAX_BYTES:
                raise BadQuestionError("this is not the head of a question in HTTP")
        method, _, version = head.partition(b"\r\n")[0].partition(b" ")
        if method != b"GET":
            raise BadQuestionError("the only method here is GET")
        self._chunked = version.endswith(b"HTTP/1.1")

    def refuse(self, status: str, why: str) -> None:
        """Answer with an error, such as `502 Bad Gateway`."""
        body = f"{why}\n".encode()
        self._begin(status, "text/plain; charset=utf-8", f"Content-Length: {len(body)}\r\n")
        self._connection.sendall(body)

    def begin(self, content_type: str) -> None:
        """Answer with 200; the content follows by `send`, and then `end`."""
        self._begin("200 OK", content_type, "Transfer-Encoding: chunked\r\n" * self._chunked)

    def send(self, content: bytes) -> None:
        """Send a piece of the content."""
        if self._chunked and content:
            content = b"%x\r\n%s\r\n" % (len(content), content)
        self._connection.sendall(content)

    def end(self) -> None:
        """Send that this was all; a client that does not get it knows that something is missing."""
        if self._chunked:
            self._connection.sendall(b"0\r\n\r\n")

    def _begin(self, status: str, content_type: str, more: str) -> None:
        head = (
            f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\n{more}"
            "Cache-Control: no-cache\r\nConnection: close\r\n\r\n"
        )
        self._connection.sendall(head.encode())
