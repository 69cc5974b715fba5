# SPDX-License-Identifier: Apache-2.0
"""Log lines with fields, to systemd's journal (systemd.io, "Native Journal Protocol").

Beside the message each has a priority, a facility, the logger, and what is known of the request
that is being served: `journalctl -u amphora-agent REQUEST_ID=…`.
"""

import contextlib
import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from pathlib import Path

SOCKET = Path("/run/systemd/journal/socket")

# One datagram; a larger one than the socket's buffer is refused.
_MESSAGE_MAX_CHARACTERS = 16 * 1024

# syslog(3)
_LOCAL0 = 16
_PRIORITIES = ((logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
_DEBUG = 7

_NOTHING: Mapping[str, str] = {}
_REQUEST: ContextVar[Mapping[str, str]] = ContextVar("request")


@contextlib.contextmanager
def fields(**values: str) -> Iterator[None]:
    """Give every line that this thread logs meanwhile more fields; names are in upper case."""
    token = _REQUEST.set({**_REQUEST.get(_NOTHING), **values})
    try:
        yield
    finally:
        _REQUEST.reset(token)


def is_at_hand(environment: Mapping[str, str]) -> bool:
    """Whether standard error of this process leads to the journal (systemd.exec(5))."""
    return "JOURNAL_STREAM" in environment and SOCKET.exists()


class JournalHandler(logging.Handler):
    """Sends records to the journal; one that it does not take goes to standard error.

    Args:
        identifier: name of the program.
        facility: number of a local facility; rsyslog selects by it.
        path: the journal's socket.
    """

    def __init__(self, identifier: str, facility: int, path: Path = SOCKET) -> None:
        super().__init__()
        self._identifier = identifier
        self._facility = str(_LOCAL0 + facility)
        self._path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        # A journal that hangs must not hang the agent.
        self._socket.setblocking(False)
        self._fallback = logging.StreamHandler()

    def emit(self, record: logging.LogRecord) -> None:
        """See logging.Handler."""
        message = self.format(record)
        sent = {
            "MESSAGE": message[:_MESSAGE_MAX_CHARACTERS],
            "PRIORITY": str(_priority(record.levelno)),
            "SYSLOG_FACILITY": self._facility,
            "SYSLOG_IDENTIFIER": self._identifier,
            "SYSLOG_PID": str(os.getpid()),
            "LOGGER": record.name,
            **_REQUEST.get(_NOTHING),
        }
        try:
            self._socket.sendto(datagram(sent), self._path)
        except OSError:
            self._fallback.handle(record)

    def close(self) -> None:
        """See logging.Handler."""
        self._socket.close()
        super().close()


def datagram(values: Mapping[str, str]) -> bytes:
    """Fields as the journal takes them; text with line feeds goes with its length."""
    parts = []
    for name, value in values.items():
        data = value.encode(errors="backslashreplace")
        if b"\n" in data:
            parts.append(name.encode() + b"\n" + len(data).to_bytes(8, "little") + data + b"\n")
        else:
            parts.append(name.encode() + b"=" + data + b"\n")
    return b"".join(parts)


def _priority(level: int) -> int:
    return next((number for least, number in _PRIORITIES if level >= least), _DEBUG)
