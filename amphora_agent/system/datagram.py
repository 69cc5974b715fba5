# SPDX-License-Identifier: Apache-2.0
"""UDP datagrams to addresses and names, over IPv4 and IPv6."""

import socket
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from amphora_agent.errors import AgentError

# A controller may get another address while its name stays; nothing fails then, as UDP is not
# answered. Names are looked up again after this time.
NAME_LIFETIME_S = 60.0

# socket.getaddrinfo's family and address; the address is a tuple of 2 (IPv4) or 4 (IPv6).
_Endpoint = tuple[int, Any]


class DatagramSender:
    """Sends datagrams; a context manager that closes its sockets at the end.

    Names are looked up when they are first used, after `NAME_LIFETIME_S`, and after a failure.
    The sockets are not connected, so that an ICMP error from one receiver is never reported for a
    datagram to another one.
    """

    def __init__(self) -> None:
        self._sockets: dict[int, socket.socket] = {}
        self._names: dict[tuple[str, int], tuple[float, list[_Endpoint]]] = {}

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

        A lookup may take as long as the resolver's own limits; addresses need none.

        Args:
            now_s: any clock that only goes forward.

        Raises:
            AgentError: the host has no address, or the kernel refused the datagram for all of
                them. Either way nothing was sent, so that it may be sent elsewhere.
        """
        endpoints = self._resolve(host, port, now_s)
        error = OSError("no address")
        for family, address in endpoints:
            try:
                self._socket(family).sendto(data, address)
            except OSError as exc:
                error = exc
            else:
                return
        self._names[host, port] = (now_s, endpoints)
        raise AgentError(
            f"nothing can be sent to {host} port {port}: {error.strerror or error}",
            f"the datagram has {len(data)} bytes",
        ) from error

    def _resolve(self, host: str, port: int, now_s: float) -> list[_Endpoint]:
        until_s, endpoints = self._names.get((host, port), (now_s, []))
        if now_s >= until_s:
            try:
                endpoints = _lookup(host, port)
            except (OSError, UnicodeError) as exc:
                # The last known addresses are better than none.
                if not endpoints:
                    raise AgentError(f"{host} has no address", str(exc)) from exc
            self._names[host, port] = (now_s + NAME_LIFETIME_S, endpoints)
        return endpoints

    def _socket(self, family: int) -> socket.socket:
        if family not in self._sockets:
            opened = socket.socket(family, socket.SOCK_DGRAM)
            # A full send buffer is an error of this datagram, and nothing to wait for.
            opened.setblocking(False)
            self._sockets[family] = opened
        return self._sockets[family]


def _lookup(host: str, port: int) -> list[_Endpoint]:
    with suppress(socket.gaierror):
        return _endpoints(host, port, socket.AI_NUMERICHOST)
    return _endpoints(host, port, 0)


def _endpoints(host: str, port: int, flags: int) -> list[_Endpoint]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=flags)
    return [(family, address) for family, _, _, _, address in found]
