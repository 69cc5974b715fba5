# SPDX-License-Identifier: Apache-2.0
"""Where heartbeats come from: a port of the watch's own, or copies of what the health manager gets.

A mirror is a raw socket for each family. The kernel gives it a copy of each UDP datagram for this
host after it has put the fragments together (a heartbeat of 60 members is more than one packet),
and a filter in the kernel leaves only those to the one port. The health manager gets its own.
"""

import ctypes
import errno
import selectors
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from amphora_controller.errors import ControllerError

# <asm/socket.h>; Python has no names for them.
_SO_ATTACH_FILTER = 26
_SO_RCVBUFFORCE = 33
# A whole IP packet, the largest thing that either socket can give.
_PACKET_MAX_BYTES = 65_535
_UDP_HEADER = struct.Struct("!HHHH")
# A thousand amphorae may speak at once while the disk keeps the watch waiting.
_QUEUE_BYTES = 8 * 1024 * 1024
# Datagrams that are taken before something else has its turn.
_BATCH = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Datagram:
    """A datagram and the address that it came from."""

    payload: bytes
    source: str


class Ears:
    """Sockets that heartbeats come in by; a context manager that closes them."""

    def __init__(self, sockets: list[socket.socket]) -> None:
        self._selector = selectors.DefaultSelector()
        self._sockets = sockets
        for opened in sockets:
            opened.setblocking(False)
            # The first takes what net.core.rmem_max allows, the second what root may have.
            for option in (socket.SO_RCVBUF, _SO_RCVBUFFORCE):
                with suppress(OSError):
                    opened.setsockopt(socket.SOL_SOCKET, option, _QUEUE_BYTES)
            self._selector.register(opened, selectors.EVENT_READ)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._selector.close()
        for opened in self._sockets:
            opened.close()

    def hear(self, *, wait_s: float) -> Iterator[Datagram]:
        """What has come, or comes within this time."""
        for key, _ in self._selector.select(wait_s):
            opened = key.fileobj
            assert isinstance(opened, socket.socket)  # noqa: S101  # nothing else is registered
            for _ in range(_BATCH):
                try:
                    data, address = opened.recvfrom(_PACKET_MAX_BYTES)
                except BlockingIOError:
                    break
                except OSError:
                    continue  # an ICMP error; nothing was received
                if (payload := _payload(opened, data)) is not None:
                    yield Datagram(payload=payload, source=_plain(str(address[0])))


def receiver(host: str, port: int) -> Ears:
    """Listen at an address of this host; `::` hears IPv4 as well.

    Raises:
        ControllerError: it cannot be listened at.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    opened = socket.socket(family, socket.SOCK_DGRAM)
    try:
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        opened.bind((host, port))
    except OSError as exc:
        opened.close()
        if exc.errno == errno.EADDRINUSE:
            hint = "something else has the port; the health manager's can be mirrored: --mirror"
        else:
            hint = "--listen needs an address of this host"
        raise ControllerError(f"cannot listen at {host} port {port}: {exc.strerror}", hint) from exc
    return Ears([opened])


def mirror(port: int) -> Ears:
    """Hear what is sent to a port of this host, beside whoever listens there.

    Raises:
        ControllerError: that is not allowed.
    """
    opened: list[socket.socket] = []
    try:
        for family in (socket.AF_INET, socket.AF_INET6):
            try:
                raw = socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_UDP)
            except OSError as exc:
                if family == socket.AF_INET6 and exc.errno == errno.EAFNOSUPPORT:
                    continue
                raise
            opened.append(raw)
            _only(raw, port)
    except OSError as exc:
        for raw in opened:
            raw.close()
        raise ControllerError(
            f"datagrams to port {port} cannot be mirrored: {exc.strerror}",
            "that needs root, or the capability CAP_NET_RAW",
        ) from exc
    return Ears(opened)


def _only(raw: socket.socket, port: int) -> None:
    """Have the kernel give a raw socket nothing but datagrams to a port.

    A classic BPF program (<linux/filter.h>). What it sees begins with the IP header for IPv4, and
    with the UDP header for IPv6.
    """
    load_port = [(0x28, 0, 0, 2)]  # ldh [2]
    if raw.family == socket.AF_INET:
        load_port = [(0xB1, 0, 0, 0), (0x48, 0, 0, 2)]  # ldxb 4*([0]&0xf); ldh [x+2]
    code = [
        *load_port,
        (0x15, 0, 1, port),  # jeq
        (0x06, 0, 0, 0xFFFFFFFF),  # ret all
        (0x06, 0, 0, 0),  # ret nothing
    ]
    program = b"".join(struct.pack("HBBI", *step) for step in code)
    buffer = ctypes.create_string_buffer(program, len(program))
    fprog = struct.pack("HP", len(code), ctypes.addressof(buffer))
    raw.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, fprog)
    # What had come before the filter was there.
    raw.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            raw.recv(_PACKET_MAX_BYTES)


def _payload(opened: socket.socket, data: bytes) -> bytes | None:
    """The payload of what a socket gave; None for a packet that is no whole datagram."""
    if opened.type != socket.SOCK_RAW:
        return data
    if opened.family == socket.AF_INET:
        if not data:
            return None
        data = data[(data[0] & 0x0F) * 4 :]
    return udp_payload(data)


def udp_payload(segment: bytes) -> bytes | None:
    """The payload of a UDP header and what follows it; None if it is shorter than it says."""
    if len(segment) < _UDP_HEADER.size:
        return None
    _, _, length, _ = _UDP_HEADER.unpack_from(segment)
    if not _UDP_HEADER.size <= length <= len(segment):
        return None
    return segment[_UDP_HEADER.size : length]


def _plain(address: str) -> str:
    """An address without the prefix of IPv4 in IPv6, and without a zone."""
    return address.removeprefix("::ffff:").partition("%")[0]
