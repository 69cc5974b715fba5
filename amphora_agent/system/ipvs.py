# SPDX-License-Identifier: Apache-2.0
"""Asks the kernel of a network namespace what it balances for UDP and SCTP.

Over generic netlink, without a program and without entering the namespace more than once: a socket
stays in the namespace in which it was opened.
"""

import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

from amphora_agent import ipvs
from amphora_agent.errors import AgentError, ParseError
from amphora_agent.ipvs import Destination, Service
from amphora_agent.system import namespace

_NETLINK_GENERIC = 16
_OWN_NAMESPACE = Path("/proc/self/ns/net")
_CHUNK_BYTES = 256 * 1024

Table = list[tuple[Service, list[Destination]]]


@dataclass(slots=True)
class IpvsTable:
    """The IPVS of one namespace; keeps a socket inside.

    Args:
        netns: name of the namespace; None for that of this process.
        timeout_s: for all questions of one reading. The kernel answers at once; this bounds what a
            fault can cost.
    """

    netns: str | None
    timeout_s: float
    _socket: socket.socket | None = field(default=None, init=False)
    _namespace: tuple[int, int] | None = field(default=None, init=False)
    _family: int = field(default=0, init=False)

    def read(self) -> Table:
        """Every service and its destinations; none where the kernel has no IPVS (yet).

        Raises:
            AgentError: the namespace cannot be entered, or the kernel gives no sound answer.
        """
        try:
            return self._read()
        except LookupError:
            self.close()
            return []
        except OSError as exc:
            self.close()
            raise AgentError("IPVS cannot be asked", str(exc)) from exc
        except ParseError:
            self.close()
            raise

    def close(self) -> None:
        """Give the socket back; the next reading opens another."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _read(self) -> Table:
        inside = self._open()
        deadline_s = time.monotonic() + self.timeout_s
        if not self._family:
            answer = _ask(inside, ipvs.family_request(), deadline_s, is_dump=False)
            self._family = ipvs.family_number(answer)
        family = self._family
        services = ipvs.services(_ask(inside, ipvs.services_request(family), deadline_s))
        return [
            (
                service,
                ipvs.destinations(
                    _ask(inside, ipvs.destinations_request(family, service), deadline_s), service
                ),
            )
            for service in services
            if service.protocol in ipvs.PROTOCOLS.values()
        ]

    def _open(self) -> socket.socket:
        """The socket in the namespace of this name, opened anew if that was made again."""
        found = (Path("/run/netns", self.netns) if self.netns else _OWN_NAMESPACE).stat()
        identity = (found.st_dev, found.st_ino)
        if self._socket is None or identity != self._namespace:
            self.close()
            self._family = 0
            self._socket = namespace.call(self.netns, _socket)
            self._namespace = identity
        return self._socket


def _socket() -> socket.socket:
    opened = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_GENERIC)
    opened.bind((0, 0))
    return opened


def _ask(
    inside: socket.socket, request: bytes, deadline_s: float, *, is_dump: bool = True
) -> bytes:
    inside.sendto(request, (0, 0))
    chunks = []
    while True:
        # What is there is read, however late it is: this process may have had to wait itself.
        inside.settimeout(max(0.0, deadline_s - time.monotonic()))
        try:
            chunks.append(inside.recv(_CHUNK_BYTES))
        except BlockingIOError as exc:
            raise TimeoutError("the kernel took too long") from exc
        # A datagram holds whole messages.
        if ipvs.is_complete(chunks[-1], is_dump=is_dump):
            return b"".join(chunks)
