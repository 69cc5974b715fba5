# SPDX-License-Identifier: Apache-2.0
"""Copies of the packets that come in by an interface, beside whoever receives them.

A packet socket sees each fragment by itself, before the kernel puts datagrams together, filters
them, or drops them for a wrong sender address: so what is lost here can be told from what never
came. A filter in the kernel passes UDP and ARP alone.
"""

import ctypes
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from types import TracebackType
from typing import Self

# <asm/socket.h>, <linux/if_ether.h>
_SO_ATTACH_FILTER = 26
_ETH_P_ALL = 0x0003
# A bridge that does not know yet where a host is gives everybody what is for that host alone.
_FOR_THIS_MACHINE = (socket.PACKET_HOST, socket.PACKET_BROADCAST, socket.PACKET_MULTICAST)
_QUEUE_BYTES = 4 * 1024 * 1024
_PACKET_MAX_BYTES = 65_600

# Classic BPF (<linux/filter.h>): code, jump if true, jump if false, operand. Packets begin with the
# header of IP or of ARP. IPv6 fragments carry their protocol further inside, so all of them pass.
_FILTER = (
    (0x30, 0, 0, 0),  # ldb [0]: version
    (0x54, 0, 0, 0xF0),  # and
    (0x15, 0, 2, 0x40),  # IPv4?
    (0x30, 0, 0, 9),  # ldb [9]: protocol
    (0x15, 6, 7, 17),  # UDP?
    (0x15, 0, 3, 0x60),  # IPv6?
    (0x30, 0, 0, 6),  # ldb [6]: next header
    (0x15, 3, 0, 17),  # UDP?
    (0x15, 2, 3, 44),  # a fragment?
    (0x20, 0, 0, 0),  # ld [0]: what ARP is about
    (0x15, 0, 1, 0x00010800),  # IPv4 on Ethernet?
    (0x06, 0, 0, 0x40000),  # all of it
    (0x06, 0, 0, 0),  # nothing
)


class Tap:
    """A packet socket on one interface; a context manager that closes it."""

    def __init__(self, interface: str) -> None:
        """Begin to collect.

        Raises:
            PermissionError: that needs root, or CAP_NET_RAW.
            OSError: there is no such interface.
        """
        # Protocol 0 receives nothing, so that nothing comes before the filter is there.
        self._socket = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0)
        try:
            _filter(self._socket)
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _QUEUE_BYTES)
            self._socket.bind((interface, _ETH_P_ALL))
        except OSError:
            self._socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._socket.close()

    def packets(self, *, until_s: float) -> Iterator[bytes]:
        """IP packets that come in until a time of time.monotonic(); `b""` now and then."""
        while (left_s := until_s - time.monotonic()) > 0:
            self._socket.settimeout(min(left_s, 0.2))
            try:
                packet, address = self._socket.recvfrom(_PACKET_MAX_BYTES)
            except TimeoutError:
                yield b""
                continue
            if address[2] in _FOR_THIS_MACHINE:
                yield packet


def _filter(opened: socket.socket) -> None:
    program = b"".join(struct.pack("HBBI", *step) for step in _FILTER)
    buffer = ctypes.create_string_buffer(program, len(program))
    opened.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_FILTER,
        struct.pack("HP", len(_FILTER), ctypes.addressof(buffer)),
    )
