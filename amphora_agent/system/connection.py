# SPDX-License-Identifier: Apache-2.0
"""One client of the API, from its first byte to its last."""

import contextlib
import selectors
import socket
import ssl
import time
from typing import Any

# Octavia sends heads of less than a kilobyte.
HEAD_MAX_BYTES = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"
_CHUNK_BYTES = 64 * 1024
_SPARE = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)


class ClientGone(OSError):
    """The client closed the connection, or was silent too long, within a request."""


class HeadTooLong(OSError):
    """The client sent `HEAD_MAX_BYTES` without completing the head of a request."""


class Connection:
    """A TLS socket that never blocks while it waits, and may block for a while in a request.

    The event loop drives `handshake`, `read_head` and `read_body`; the thread that serves the
    request then owns the connection, calls `block`, reads with `recv` what the loop has left, and
    gives it back with `unblock`.

    Args:
        sock: the accepted TCP socket; it belongs to the connection now.
        peer: address of the client, as accept() gave it.
        context: for the server side of TLS.

    Raises:
        OSError: the client has gone already.
    """

    def __init__(self, sock: socket.socket, peer: Any, context: ssl.SSLContext) -> None:
        try:
            sock.setblocking(False)
            self.peer = peer
            self.local = sock.getsockname()
            self.sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        except OSError:
            sock.close()
            raise
        self._received = bytearray()
        self._end = 0.0

    @property
    def client(self) -> str:
        """The client's IP address."""
        return address_of(self.peer)

    @property
    def silent(self) -> bool:
        """Whether nothing of the next request has been taken from the kernel."""
        return not self._received and not self.sock.pending()

    @property
    def held(self) -> int:
        """Bytes that were received and not yet asked for."""
        return len(self._received)

    def handshake(self) -> int:
        """Go on with the handshake; returns the event of `selectors` to wait for, 0 when done.

        Raises:
            OSError: it failed; see handshakes.cause_of.
        """
        try:
            self.sock.do_handshake()
        except ssl.SSLWantReadError:
            return selectors.EVENT_READ
        except ssl.SSLWantWriteError:
            return selectors.EVENT_WRITE
        return 0

    def read_head(self) -> bool:
        """Take what has come; whether the head of a request is complete.

        Raises:
            HeadTooLong: see there.
            OSError: the client closed the connection, or the TLS session broke.
        """
        while _END_OF_HEAD not in self._received:
            if len(self._received) >= HEAD_MAX_BYTES:
                raise HeadTooLong(f"no end of head within {HEAD_MAX_BYTES} bytes")
            if not self._take():
                return False
        return True

    def read_body(self, size: int) -> bool:
        """Take what has come after the head; whether `size` bytes are there.

        Raises:
            OSError: the client closed the connection, or the TLS session broke.
        """
        while len(self._received) < size:
            if not self._take():
                return False
        return True

    def _take(self) -> bool:
        """Take some bytes; False when TLS has no more, so that the next ones wake a selector."""
        try:
            data = self.sock.recv(_CHUNK_BYTES)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        if not data:
            raise ClientGone("closed by the client")
        self._received += data
        return True

    def give_back(self, data: bytes) -> None:
        """Put bytes that `recv` gave before those that are still to come."""
        self._received[:0] = data

    def block(self, *, progress_s: float, total_s: float) -> None:
        """Let `recv` and writes wait.

        Args:
            progress_s: how long one byte may take.
            total_s: how long `recv` may be called.
        """
        self.sock.settimeout(progress_s)
        self._end = time.monotonic() + total_s

    def unblock(self) -> None:
        """Back to the event loop."""
        self.sock.settimeout(0)

    def recv(self, size: int) -> bytes:
        """Bytes of a request; gunicorn's parser takes a connection for a socket by this name.

        Raises:
            ClientGone: the request will not be completed. gunicorn would take the end of the
                stream for the end of the body, and half an upload for a whole one.
        """
        if self._received:
            data = bytes(self._received[:size])
            del self._received[:size]
            return data
        if time.monotonic() >= self._end:
            raise ClientGone("the request did not come in time")
        try:
            data = self.sock.recv(size)
        except TimeoutError as exc:
            raise ClientGone("the client fell silent") from exc
        if not data:
            raise ClientGone("closed by the client")
        return data

    def close(self) -> None:
        """End it; what was written is still delivered.

        To be called by the thread in which it failed, if it did.
        """
        _forget_errors()
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)
            # Unread bytes would make the kernel reset the connection, and the client lose the
            # TLS alert or the answer that tells it why.
            self.sock.settimeout(0)
            socket.socket.recv(self.sock, _CHUNK_BYTES)
        self.sock.close()


def _forget_errors() -> None:
    """Empty the calling thread's list of errors in OpenSSL.

    Python 3.13 leaves an error of the operating system there (`PySSL_SetError` returns early for
    ERR_LIB_SYS). The next connection of the thread would be told it as its own, and be broken off.
    """
    with contextlib.suppress(ssl.SSLError):
        # Fails, and is the one call that is documented in CPython to clear the list then.
        _SPARE.set_ciphers("NONE")


def address_of(peer: Any) -> str:
    """The IP address in what accept() gave, an IPv4 one as IPv4 though the socket is for both."""
    return str(peer[0]).removeprefix("::ffff:")
