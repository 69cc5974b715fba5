# SPDX-License-Identifier: Apache-2.0
"""The bytes of a heartbeat: whether they are one, and if not, why.

A datagram is a zlib stream and the HMAC-SHA256 of that stream, as 64 lower-case hexadecimal digits;
agents before Rocky send the 32 bytes of it as they are, and Octavia still takes them.
"""

import hmac
import zlib
from dataclasses import dataclass
from enum import StrEnum

# The largest payload of UDP over IPv6; over IPv4 it is 65,507.
DATAGRAM_MAX_BYTES = 65_527
# A datagram of UUIDs unpacks to about five times its size; zlib could reach a thousand times.
_TEXT_MAX_BYTES = 8 * 1024 * 1024
# So often its size is unpacked of what anybody may have sent, to say what it is. Pools that many
# listeners share pack well, some fifty times.
_UNSIGNED_RATIO_MAX = 100
_HEX_BYTES = 64
_RAW_BYTES = 32
# Of a zlib stream (RFC 1950); before it is complete anything could be one.
_HEADER_BYTES = 2


class Fault(StrEnum):
    """Why a datagram is no heartbeat."""

    OVERSIZE = "too large"
    GARBAGE = "garbage"
    TRUNCATED = "cut short"
    WRONG_KEY = "wrong key, or forged"
    MALFORMED = "malformed message"
    VERSION = "unknown version"


class Refused(Exception):
    """A datagram that is no heartbeat.

    Attributes:
        fault: its kind, to be counted.
        detail: what is wrong with it; printable.
    """

    def __init__(self, fault: Fault, detail: str) -> None:
        super().__init__(fault, detail)
        self.fault = fault
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.fault}: {self.detail}"


def text(datagram: bytes, key: str) -> bytes:
    """The JSON text of a datagram that was signed with the key.

    Raises:
        Refused: it was not, or it is none.
    """
    if len(datagram) > DATAGRAM_MAX_BYTES:
        raise Refused(Fault.OVERSIZE, f"{len(datagram)} bytes, which UDP does not carry")
    packed = _signed(datagram, key)
    if packed is None:
        raise _of_signature(datagram)
    stream = _unpacked(packed, _TEXT_MAX_BYTES)
    if stream.is_large:
        raise Refused(Fault.OVERSIZE, f"its text has over {_TEXT_MAX_BYTES} bytes")
    if not stream.is_whole or stream.rest:
        raise Refused(
            Fault.MALFORMED, "the signature is right, but what is signed is no zlib stream"
        )
    return stream.text


@dataclass(frozen=True, kw_only=True, slots=True)
class _Stream:
    """A zlib stream, as far as it goes.

    Attributes:
        is_stream: it begins like one.
        is_whole: it has its end.
        is_large: it has more than may be unpacked.
        rest: what comes after its end.
    """

    text: bytes = b""
    is_stream: bool = True
    is_whole: bool = False
    is_large: bool = False
    rest: bytes = b""


def _signed(datagram: bytes, key: str) -> bytes | None:
    """What is signed with the key, or None."""
    for size in (_HEX_BYTES, _RAW_BYTES):
        packed, signature = datagram[:-size], datagram[-size:]
        digest = hmac.digest(key.encode(), packed, "sha256")
        expected = digest.hex().encode() if size == _HEX_BYTES else digest
        if hmac.compare_digest(expected, signature):
            return packed
    return None


def _of_signature(datagram: bytes) -> Refused:
    """What a datagram is whose signature is wrong; it tells nothing that could be trusted."""
    stream = _unpacked(datagram, _UNSIGNED_RATIO_MAX * max(len(datagram), 1))
    if stream.is_whole and len(stream.rest) in (_HEX_BYTES, _RAW_BYTES):
        return Refused(Fault.WRONG_KEY, "heartbeat_key is another one where it was made")
    if stream.is_large or not stream.is_stream or len(stream.rest) > _HEX_BYTES:
        return Refused(Fault.GARBAGE, f"{len(datagram)} bytes that are no heartbeat")
    return Refused(Fault.TRUNCATED, f"the {len(datagram)} bytes are the beginning of one")


def _unpacked(packed: bytes, max_bytes: int) -> _Stream:
    unpacker = zlib.decompressobj()
    try:
        unpacked = unpacker.decompress(packed, max_bytes)
    except zlib.error:
        return _Stream(is_stream=False)
    return _Stream(
        text=unpacked,
        is_stream=len(packed) >= _HEADER_BYTES,
        is_whole=unpacker.eof,
        is_large=bool(unpacker.unconsumed_tail),
        rest=unpacker.unused_data,
    )
