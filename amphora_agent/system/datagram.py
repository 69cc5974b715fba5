# SPDX-License-Identifier: Apache-2.0
"""UDP datagrams to addresses and names, over IPv4 and IPv6."""

import math
import socket
import threading
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from amphora_agent.errors import AgentError

# socket.getaddrinfo's family and address; the address is a tuple of 2 (IPv4) or 4 (IPv6).
Endpoint = tuple[int, Any]

# A controller may get another address while its name stays; nothing fails then, as UDP is not
# answered. Names are looked up again after this time.
NAME_LIFETIME_S = 60.0

# How long the first use of a name may wait for the resolver, which has limits of its own of 10 s
# and more. A later answer serves the next heartbeat.
_FIRST_WAIT_S = 0.5


class _Lookup:
    """One question to the resolver, in a thread that nobody has to wait for."""

    def __init__(self, host: str, port: int) -> None:
        self.endpoints: list[Endpoint] = []
        self.error = "the resolver takes too long"
        self._where = (host, port)
        self._thread = threading.Thread(target=self._run, name=f"lookup-{host}", daemon=True)
        self._thread.start()

    def is_done(self, *, wait_s: float) -> bool:
        """Whether there is an answer, or will be within this time."""
        self._thread.join(wait_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        try:
            self.endpoints = _endpoints(*self._where, 0)
        except (OSError, UnicodeError) as exc:
            self.error = str(exc)


@dataclass(slots=True)
class _Name:
    """What is known of a name, until when, and the question that is open."""

    endpoints: list[Endpoint] = field(default_factory=list)
    until_s: float = -math.inf
    lookup: _Lookup | None = None


class Resolver:
    """Addresses of names, without ever waiting long for a name server.

    A name is looked up when it is first used, after `NAME_LIFETIME_S`, and when `doubt` says that
    its addresses do not work; meanwhile the last known ones serve.
    """

    def __init__(self) -> None:
        self._names: dict[tuple[str, int], _Name] = {}
        # What a host that is an address means; empty for a name.
        self._numeric: dict[tuple[str, int], list[Endpoint]] = {}

    def endpoints(self, host: str, port: int, *, now_s: float) -> list[Endpoint]:
        """The addresses of a host.

        Args:
            now_s: any clock that only goes forward.

        Raises:
            AgentError: none is known.
        """
        numeric = self._numeric.get((host, port))
        if numeric is None:
            with suppress(OSError, UnicodeError):
                numeric = _endpoints(host, port, socket.AI_NUMERICHOST)
            self._numeric[host, port] = numeric or []
        if numeric:
            return numeric
        name = self._names.setdefault((host, port), _Name())
        wait_s = 0.0
        if name.lookup is None and now_s >= name.until_s:
            name.lookup = _Lookup(host, port)
            # The last known addresses are better than none, and than waiting.
            wait_s = 0.0 if name.endpoints else _FIRST_WAIT_S
        if name.lookup is not None:
            error = name.lookup.error
            if name.lookup.is_done(wait_s=wait_s):
                error = name.lookup.error
                if name.lookup.endpoints:
                    name.endpoints = name.lookup.endpoints
                    name.until_s = now_s + NAME_LIFETIME_S
                name.lookup = None
            if not name.endpoints:
                raise AgentError(f"{host} has no address", error)
        return name.endpoints

    def doubt(self, host: str, port: int) -> None:
        """Have a name looked up again the next time."""
        name = self._names.get((host, port))
        if name is not None:
            name.until_s = -math.inf


class DatagramSender:
    """Sends datagrams; a context manager that closes its sockets at the end.

    The sockets are not connected, so that an ICMP error from one receiver is never reported for a
    datagram to another one.
    """

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._resolver = Resolver()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for opened in self._sockets.values():
            opened.close()
        self._sockets.clear()

    def send(self, data: bytes, host: str, port: int, *, now_s: float) -> None:
        """Hand one datagram to the kernel, for the first address of the host that it takes.

        Args:
            now_s: any clock that only goes forward.

        Raises:
            AgentError: the host has no address, or the kernel refused the datagram for all of
                them. Either way nothing was sent, so that it may be sent elsewhere.
        """
        error = OSError("no address")
        for family, address in self._resolver.endpoints(host, port, now_s=now_s):
            try:
                self._socket(family).sendto(data, address)
            except OSError as exc:
                error = exc
            else:
                return
        self._resolver.doubt(host, port)
        raise AgentError(
            f"nothing can be sent to {host} port {port}: {error.strerror or error}",
            f"the datagram has {len(data)} bytes",
        ) from error

    def _socket(self, family: int) -> socket.socket:
        if family not in self._sockets:
            opened = socket.socket(family, socket.SOCK_DGRAM)
            # A full send buffer is an error of this datagram, and nothing to wait for.
            opened.setblocking(False)
            self._sockets[family] = opened
        return self._sockets[family]


def _endpoints(host: str, port: int, flags: int) -> list[Endpoint]:
    # Text would be encoded as IDNA asks, with tables of all of Unicode (a quarter of a MiB).
    name = host.encode() if host.isascii() else host
    found = socket.getaddrinfo(name, port, type=socket.SOCK_DGRAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]
