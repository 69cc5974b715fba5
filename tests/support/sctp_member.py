# SPDX-License-Identifier: Apache-2.0
"""Members that speak SCTP, and a client that asks through the VIP.

Packets are made here, because the kernel of a build machine may not know the protocol: as much of
RFC 9260 as an association with one message each way takes. What arrives with a wrong checksum is
passed over, so that whoever rewrites packets on the way has to set it right.
"""

import secrets
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address

from tests.support.netns import Namespace

_POLL_S = 0.2
_CLIENT_DEADLINE_S = 2.0
_RECEIVE_MAX_BYTES = 65536

# Ports of source and target, the receiver's tag, checksum; type, flags and length of a chunk.
_HEADER = struct.Struct("!HHL4s")
_CHUNK = struct.Struct("!BBH")
_DATA, _INIT, _INIT_ACK, _SACK, _ABORT, _COOKIE_ECHO, _COOKIE_ACK = 0, 1, 2, 3, 6, 10, 11
# Tag, receive window, streams out and in, first sequence number.
_INIT_FIELDS = struct.Struct("!LLHHL")
_COOKIE = 7
_PARAMETER = struct.Struct("!HH")
# Sequence number; stream, number within it, protocol of the payload.
_DATA_FIELDS = struct.Struct("!LHHL")
_WHOLE_MESSAGE = 3
# Last sequence number, receive window, numbers of gaps and duplicates.
_SACK_FIELDS = struct.Struct("!LLHH")
_WINDOW_BYTES = 65536
_FIRST = 1

Chunk = tuple[int, bytes]


def _table() -> list[int]:
    """Of CRC-32C by bytes (RFC 9260, appendix A)."""
    table = list(range(256))
    for _ in range(8):
        table = [value >> 1 ^ (0x82F63B78 if value & 1 else 0) for value in table]
    return table


_TABLE = _table()


def _checksum(data: bytes) -> bytes:
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return (crc ^ 0xFFFFFFFF).to_bytes(4, "little")


@dataclass(frozen=True, kw_only=True, slots=True)
class Packet:
    """One packet; `tag` is what its receiver knows the association by."""

    source: int
    target: int
    tag: int
    chunks: tuple[Chunk, ...]

    def encode(self) -> bytes:
        """The packet with its checksum."""
        body = b"".join(_chunk(kind, value) for kind, value in self.chunks)
        unsigned = _HEADER.pack(self.source, self.target, self.tag, bytes(4)) + body
        return _HEADER.pack(self.source, self.target, self.tag, _checksum(unsigned)) + body


def _chunk(kind: int, value: bytes) -> bytes:
    flags = _WHOLE_MESSAGE if kind == _DATA else 0
    return _CHUNK.pack(kind, flags, _CHUNK.size + len(value)) + value + bytes(-len(value) % 4)


def decode(data: bytes) -> Packet | None:
    """A packet; None if its checksum is wrong."""
    source, target, tag, checksum = _HEADER.unpack_from(data)
    body = data[_HEADER.size :]
    if checksum != _checksum(_HEADER.pack(source, target, tag, bytes(4)) + body):
        return None
    chunks = []
    while body:
        kind, _flags, length = _CHUNK.unpack_from(body)
        chunks.append((kind, body[_CHUNK.size : length]))
        body = body[length + -length % 4 :]
    return Packet(source=source, target=target, tag=tag, chunks=tuple(chunks))


def _open(inside: Namespace) -> socket.socket:
    with inside.entered():
        return socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_SCTP)


def _receive(raw: socket.socket) -> tuple[Packet | None, str]:
    """A packet behind its IP header, and where it came from."""
    data, (sender, _port) = raw.recvfrom(_RECEIVE_MAX_BYTES)
    return decode(data[(data[0] & 15) * 4 :]), sender


@contextmanager
def sctp_member(inside: Namespace, name: str, address: IPv4Address, port: int) -> Iterator[None]:
    """Take associations at an address of a namespace, and answer every message with `name`."""
    raw = _open(inside)
    raw.bind((str(address), 0))
    raw.settimeout(_POLL_S)
    ended = threading.Event()
    # What clients know their associations by.
    tags: dict[tuple[str, int], int] = {}

    def serve() -> None:
        while not ended.is_set():
            try:
                packet, sender = _receive(raw)
            except TimeoutError:
                continue
            if packet is None or packet.target != port:
                continue
            for kind, value in packet.chunks:
                tag, answers = _answer(kind, value, name, tags, (sender, packet.source))
                if answers:
                    answer = Packet(source=port, target=packet.source, tag=tag, chunks=answers)
                    raw.sendto(answer.encode(), (sender, 0))

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        raw.close()


def _answer(
    kind: int,
    value: bytes,
    name: str,
    tags: dict[tuple[str, int], int],
    client: tuple[str, int],
) -> tuple[int, tuple[Chunk, ...]]:
    """The client's tag, and what a member answers to one chunk; nothing to most."""
    if kind == _INIT:
        theirs = _INIT_FIELDS.unpack_from(value)[0]
        own = secrets.randbits(32) | 1
        # All that is to be known later is in the cookie.
        cookie = struct.pack("!L", theirs)
        fields = _INIT_FIELDS.pack(own, _WINDOW_BYTES, 1, 1, _FIRST)
        parameter = _PARAMETER.pack(_COOKIE, _PARAMETER.size + len(cookie)) + cookie
        return theirs, ((_INIT_ACK, fields + parameter),)
    if kind == _COOKIE_ECHO:
        (tags[client],) = struct.unpack("!L", value)
        return tags[client], ((_COOKIE_ACK, b""),)
    if kind == _DATA and client in tags:
        number = _DATA_FIELDS.unpack_from(value)[0]
        received = _SACK_FIELDS.pack(number, _WINDOW_BYTES, 0, 0)
        return tags[client], ((_SACK, received), (_DATA, _message(name.encode())))
    if kind == _ABORT:
        tags.pop(client, None)
    return 0, ()


def _message(payload: bytes) -> bytes:
    return _DATA_FIELDS.pack(_FIRST, 0, 0, 0) + payload


def ask(inside: Namespace, address: IPv4Address, port: int) -> str | None:
    """Set up an association, send a message, and end it; the answer, or None when none came."""
    own = secrets.randbits(32) | 1
    source = 1024 + secrets.randbelow(64512)
    with _open(inside) as raw:
        raw.settimeout(_CLIENT_DEADLINE_S)
        raw.connect((str(address), 0))

        def exchange(tag: int, kind: int, value: bytes, awaited: int) -> bytes:
            """Send a chunk and wait for one of another kind."""
            sent = Packet(source=source, target=port, tag=tag, chunks=((kind, value),))
            raw.send(sent.encode())
            while True:
                packet, _sender = _receive(raw)
                if packet is None or (packet.source, packet.target) != (port, source):
                    continue
                for found, answer in packet.chunks:
                    if found == awaited and packet.tag == own:
                        return answer

        try:
            init = _INIT_FIELDS.pack(own, _WINDOW_BYTES, 1, 1, _FIRST)
            accepted = exchange(0, _INIT, init, _INIT_ACK)
            theirs = _INIT_FIELDS.unpack_from(accepted)[0]
            _type, length = _PARAMETER.unpack_from(accepted, _INIT_FIELDS.size)
            cookie = accepted[_INIT_FIELDS.size :][_PARAMETER.size : length]
            exchange(theirs, _COOKIE_ECHO, cookie, _COOKIE_ACK)
            answer = exchange(theirs, _DATA, _message(b"who"), _DATA)
            end = Packet(source=source, target=port, tag=theirs, chunks=((_ABORT, b""),))
            raw.send(end.encode())
        except OSError:
            # Nobody answered in time, or a host said that nobody will.
            return None
    return answer[_DATA_FIELDS.size :].decode()
