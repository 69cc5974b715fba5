# SPDX-License-Identifier: Apache-2.0
"""UDP datagrams out of IP packets, fragments put together (RFC 791, RFC 8200 4.5); ARP."""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address

from amphora_controller.doctor.options import Address, Endpoint

_UDP = 17
_IPV6_FRAGMENT = 44
_IPV4_HEADER_MIN_BYTES = 20
_IPV6_HEADER_BYTES = 40
_FRAGMENT_HEADER_BYTES = 8
_UDP_HEADER_BYTES = 8
_UNIT_BYTES = 8
_KEPT_MAX = 1000
# Ethernet, IPv4, 6 and 4 bytes of address, request.
_ARP_REQUEST = bytes.fromhex("0001080006040001")
_ARP_BYTES = 28


@dataclass(frozen=True, kw_only=True, slots=True)
class Datagram:
    """A whole one."""

    source: Address
    destination: Endpoint
    payload: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True, slots=True)
class Partial:
    """A datagram of which fragments are missing.

    Attributes:
        destination: None if the first fragment, which names the port, is one of them.
        come_bytes: of the fragments that came.
        begun_s: when the first one of them came.
    """

    source: Address
    destination: Endpoint | None
    come_bytes: int
    begun_s: float


@dataclass(frozen=True, kw_only=True, slots=True)
class _Piece:
    """What a packet carries of a datagram.

    Attributes:
        key: the same for all pieces of one datagram.
        offset_bytes: of the datagram, its UDP header included.
    """

    source: Address
    destination: Address
    key: tuple[Address, Address, int]
    offset_bytes: int
    is_last: bool
    content: bytes

    @property
    def is_whole(self) -> bool:
        return self.is_last and self.offset_bytes == 0


@dataclass(slots=True)
class Assembler:
    """Puts fragments together."""

    _pieces: dict[tuple[Address, Address, int], list[_Piece]] = field(default_factory=dict)
    _begun_s: dict[tuple[Address, Address, int], float] = field(default_factory=dict)

    def take(self, packet: bytes, now_s: float) -> Datagram | None:
        """The datagram that a packet completes; None if it does not, or is no UDP."""
        piece = _piece(packet)
        if piece is None:
            return None
        if piece.is_whole:
            return _datagram([piece])
        if piece.key not in self._pieces:
            self._forget_oldest()
            self._begun_s[piece.key] = now_s
        pieces = self._pieces.setdefault(piece.key, [])
        pieces.append(piece)
        if not _is_complete(pieces):
            return None
        del self._pieces[piece.key], self._begun_s[piece.key]
        return _datagram(pieces)

    def partials(self) -> Iterator[Partial]:
        """What is not whole by now."""
        for key, pieces in self._pieces.items():
            first = next((piece for piece in pieces if piece.offset_bytes == 0), None)
            yield Partial(
                source=key[0],
                destination=_destination(first) if first else None,
                come_bytes=sum(len(piece.content) for piece in pieces),
                begun_s=self._begun_s[key],
            )

    def _forget_oldest(self) -> None:
        if len(self._pieces) >= _KEPT_MAX:
            oldest = next(iter(self._pieces))
            del self._pieces[oldest], self._begun_s[oldest]


@dataclass(frozen=True, kw_only=True, slots=True)
class Call:
    """A host asks its network for the owner of an address (RFC 826)."""

    source: Address
    wanted: Address


def call(packet: bytes) -> Call | None:
    """What an ARP packet asks; None for all others."""
    if len(packet) < _ARP_BYTES or packet[:8] != _ARP_REQUEST:
        return None
    return Call(source=ip_address(packet[14:18]), wanted=ip_address(packet[24:28]))


def _piece(packet: bytes) -> _Piece | None:
    version = packet[0] >> 4 if packet else 0
    if version == 4 and len(packet) >= _IPV4_HEADER_MIN_BYTES:
        return _ipv4(packet)
    if version == 6 and len(packet) >= _IPV6_HEADER_BYTES:
        return _ipv6(packet)
    return None


def _ipv4(packet: bytes) -> _Piece | None:
    header_bytes = (packet[0] & 0x0F) * 4
    total_bytes, number, fragment = struct.unpack_from("!HHH", packet, 2)
    if packet[9] != _UDP:
        return None
    source, destination = ip_address(packet[12:16]), ip_address(packet[16:20])
    return _Piece(
        source=source,
        destination=destination,
        key=(source, destination, number),
        offset_bytes=(fragment & 0x1FFF) * _UNIT_BYTES,
        is_last=not fragment & 0x2000,
        content=packet[header_bytes:total_bytes],
    )


def _ipv6(packet: bytes) -> _Piece | None:
    payload_bytes, following = struct.unpack_from("!HB", packet, 4)
    source, destination = ip_address(packet[8:24]), ip_address(packet[24:40])
    content = packet[_IPV6_HEADER_BYTES : _IPV6_HEADER_BYTES + payload_bytes]
    number, offset_bytes, is_last = 0, 0, True
    if following == _IPV6_FRAGMENT and len(content) >= _FRAGMENT_HEADER_BYTES:
        following, _, fragment, number = struct.unpack_from("!BBHI", content)
        offset_bytes, is_last = fragment & 0xFFF8, not fragment & 1
        content = content[_FRAGMENT_HEADER_BYTES:]
    if following != _UDP:
        return None
    return _Piece(
        source=source,
        destination=destination,
        key=(source, destination, number),
        offset_bytes=offset_bytes,
        is_last=is_last,
        content=content,
    )


def _is_complete(pieces: list[_Piece]) -> bool:
    if not any(piece.is_last for piece in pieces):
        return False
    reached = 0
    for piece in sorted(pieces, key=lambda piece: piece.offset_bytes):
        if piece.offset_bytes > reached:
            return False
        reached = max(reached, piece.offset_bytes + len(piece.content))
    return True


def _datagram(pieces: list[_Piece]) -> Datagram | None:
    """The datagram of all its pieces, which may come in any order and more than once."""
    content = bytearray()
    for piece in sorted(pieces, key=lambda piece: piece.offset_bytes):
        content[piece.offset_bytes :] = piece.content
    if len(content) < _UDP_HEADER_BYTES:
        return None
    return Datagram(
        source=pieces[0].source,
        destination=Endpoint(pieces[0].destination, int.from_bytes(content[2:4], "big")),
        payload=bytes(content[_UDP_HEADER_BYTES : int.from_bytes(content[4:6], "big") or None]),
    )


def _destination(first: _Piece) -> Endpoint | None:
    if len(first.content) < _UDP_HEADER_BYTES:
        return None
    return Endpoint(first.destination, int.from_bytes(first.content[2:4], "big"))
