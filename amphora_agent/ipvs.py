# SPDX-License-Identifier: Apache-2.0
"""What the kernel balances for UDP and SCTP: IPVS, as its netlink family tells it.

Requests and answers are bytes here; amphora_agent.system.ipvs carries them. Formats: netlink(7)
messages, generic netlink headers (linux/genetlink.h) and the attributes of linux/ip_vs.h. One
dump answers with several messages, of which the last is NLMSG_DONE. Attributes that are not used
are passed over, so that a newer kernel may send more.
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address

from amphora_agent.errors import ParseError

FAMILY = "IPVS"
PROTOCOLS: Mapping[int, str] = {6: "TCP", 17: "UDP", 132: "SCTP"}

_NUMBERS = {name: number for number, name in PROTOCOLS.items()}
_HEADER = struct.Struct("=IHHII")  # length, type, flags, sequence, port
_GENERIC = struct.Struct("=BBH")  # command, version, reserved
_ATTRIBUTE = struct.Struct("=HH")  # length, type
_TYPE_MASK = 0x3FFF
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP = 0x001, 0x300
_NESTED = 0x8000

_CONTROLLER, _GET_FAMILY, _FAMILY_ID, _FAMILY_NAME = 16, 3, 1, 2
_GET_SERVICE, _GET_DESTINATION = 4, 8
_SERVICE, _DESTINATION = 1, 2
_AF, _PROTOCOL, _ADDRESS, _PORT, _SERVICE_STATS64 = 1, 2, 3, 4, 12
_TO_ADDRESS, _TO_PORT, _TO_WEIGHT, _TO_ACTIVE, _TO_FAMILY, _TO_STATS64 = 1, 2, 4, 7, 11, 12
_CONNECTIONS, _BYTES_IN, _BYTES_OUT = 1, 4, 5
_INET, _INET6 = 2, 10

Address = IPv4Address | IPv6Address


@dataclass(frozen=True, kw_only=True, slots=True, order=True)
class Endpoint:
    """Where one service, or one of its destinations, is reached."""

    address: Address
    port: int

    def __str__(self) -> str:
        shown = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{shown}:{self.port}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Destination:
    """A real server.

    Attributes:
        active: connections that are open; the last three values count from when it was added.
    """

    endpoint: Endpoint
    weight: int
    active: int
    connections: int
    bytes_in: int
    bytes_out: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Service:
    """A virtual server; the last three values count from its creation.

    Attributes:
        protocol: UDP, SCTP or TCP.
    """

    protocol: str
    endpoint: Endpoint
    connections: int
    bytes_in: int
    bytes_out: int

    @property
    def name(self) -> str:
        """A stable name, such as `UDP 192.0.2.1:53`."""
        return f"{self.protocol} {self.endpoint}"


def family_request() -> bytes:
    """Ask for the number that the kernel gave the family IPVS."""
    return _request(
        _CONTROLLER, _GET_FAMILY, _attribute(_FAMILY_NAME, FAMILY.encode() + b"\0"), flags=_REQUEST
    )


def family_number(answer: bytes) -> int:
    """The number in the answer.

    Raises:
        LookupError: this kernel has no IPVS.
        ParseError: the answer is no netlink message.
    """
    for payload in _payloads(answer):
        found = _attributes(payload[_GENERIC.size :]).get(_FAMILY_ID)
        if found is not None:
            return _unsigned(found)
    raise ParseError("the kernel names no family of netlink messages", repr(answer[:80]))


def services_request(family: int) -> bytes:
    """Ask for every service."""
    return _request(family, _GET_SERVICE, b"", flags=_REQUEST | _DUMP)


def services(answer: bytes) -> list[Service]:
    """The services of an answer; those for a firewall mark, which have no address, are left out.

    Raises:
        ParseError: it is cut off, an error, or lacks an attribute.
    """
    found = []
    for table in _tables(answer, _SERVICE):
        if _AF not in table:
            continue
        connections, bytes_in, bytes_out = _traffic(table, _SERVICE_STATS64)
        number = _unsigned(_needed(table, _PROTOCOL))
        found.append(
            Service(
                protocol=PROTOCOLS.get(number, str(number)),
                endpoint=_endpoint(_unsigned(table[_AF]), table, _ADDRESS, _PORT),
                connections=connections,
                bytes_in=bytes_in,
                bytes_out=bytes_out,
            )
        )
    return found


def destinations_request(family: int, service: Service) -> bytes:
    """Ask for every destination of a service."""
    endpoint = service.endpoint
    inside = (
        _attribute(_AF, struct.pack("=H", _INET if endpoint.address.version == 4 else _INET6))
        + _attribute(_PROTOCOL, struct.pack("=H", _NUMBERS[service.protocol]))
        + _attribute(_ADDRESS, endpoint.address.packed.ljust(16, b"\0"))
        + _attribute(_PORT, struct.pack("!H", endpoint.port))
    )
    return _request(
        family, _GET_DESTINATION, _attribute(_SERVICE | _NESTED, inside), flags=_REQUEST | _DUMP
    )


def destinations(answer: bytes, service: Service) -> list[Destination]:
    """The destinations in the answer to `destinations_request` for this service.

    Raises:
        ParseError: as `services`.
    """
    family = _INET if service.endpoint.address.version == 4 else _INET6
    found = []
    for table in _tables(answer, _DESTINATION):
        connections, bytes_in, bytes_out = _traffic(table, _TO_STATS64)
        found.append(
            Destination(
                # Kernels before 3.18 do not name the family: then it is the service's.
                endpoint=_endpoint(
                    _unsigned(table[_TO_FAMILY]) if _TO_FAMILY in table else family,
                    table,
                    _TO_ADDRESS,
                    _TO_PORT,
                ),
                weight=_unsigned(_needed(table, _TO_WEIGHT)),
                active=_unsigned(_needed(table, _TO_ACTIVE)),
                connections=connections,
                bytes_in=bytes_in,
                bytes_out=bytes_out,
            )
        )
    return found


def is_complete(answer: bytes, *, is_dump: bool) -> bool:
    """Whether the messages so far hold the end of what was asked.

    Raises:
        ParseError: they are no netlink messages.
    """
    kinds = [kind for kind, _payload in _messages(answer)]
    return bool(kinds) and (not is_dump or kinds[-1] in {_DONE, _ERROR})


def _request(family: int, command: int, attributes: bytes, *, flags: int) -> bytes:
    body = _GENERIC.pack(command, 1, 0) + attributes
    return _HEADER.pack(_HEADER.size + len(body), family, flags, 0, 0) + body


def _attribute(kind: int, payload: bytes) -> bytes:
    length = _ATTRIBUTE.size + len(payload)
    return _ATTRIBUTE.pack(length, kind) + payload + b"\0" * (-length % 4)


def _messages(answer: bytes) -> Iterator[tuple[int, bytes]]:
    offset = 0
    while offset < len(answer):
        try:
            length, kind, *_rest = _HEADER.unpack_from(answer, offset)
        except struct.error as exc:
            raise ParseError("a netlink message is cut off", str(exc)) from exc
        if not _HEADER.size <= length <= len(answer) - offset:
            raise ParseError("a netlink message is cut off", f"it has {length} bytes")
        yield kind, answer[offset + _HEADER.size : offset + length]
        offset += length + -length % 4


def _payloads(answer: bytes) -> Iterator[bytes]:
    """The payloads of data messages; an error message is raised."""
    for kind, payload in _messages(answer):
        if kind == _ERROR:
            number = -struct.unpack_from("=i", payload.ljust(4, b"\0"))[0]
            if number == 2:  # ENOENT
                raise LookupError("the kernel has no IPVS")
            raise ParseError("the kernel refuses to tell of IPVS", f"error {number}")
        if kind == _DONE:
            return
        yield payload


def _tables(answer: bytes, kind: int) -> Iterator[dict[int, bytes]]:
    for payload in _payloads(answer):
        yield _attributes(_needed(_attributes(payload[_GENERIC.size :]), kind))


def _attributes(data: bytes) -> dict[int, bytes]:
    found = {}
    offset = 0
    while offset + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, offset)
        if not _ATTRIBUTE.size <= length <= len(data) - offset:
            raise ParseError("an attribute of a netlink message is cut off", f"number {kind}")
        found[kind & _TYPE_MASK] = data[offset + _ATTRIBUTE.size : offset + length]
        offset += length + -length % 4
    return found


def _traffic(table: Mapping[int, bytes], kind: int) -> tuple[int, int, int]:
    """Connections, bytes in and bytes out."""
    stats = _attributes(_needed(table, kind))
    return (
        _unsigned(_needed(stats, _CONNECTIONS)),
        _unsigned(_needed(stats, _BYTES_IN)),
        _unsigned(_needed(stats, _BYTES_OUT)),
    )


def _needed(table: Mapping[int, bytes], kind: int) -> bytes:
    try:
        return table[kind]
    except KeyError:
        raise ParseError("IPVS leaves out an attribute", f"number {kind}") from None


def _unsigned(data: bytes) -> int:
    try:
        return int(struct.unpack({1: "=B", 2: "=H", 4: "=I", 8: "=Q"}[len(data)], data)[0])
    except KeyError:
        raise ParseError("a number in a netlink message has no size of one", repr(data)) from None


def _endpoint(family: int, table: Mapping[int, bytes], address: int, port: int) -> Endpoint:
    packed = _needed(table, address)[: 4 if family == _INET else 16]
    number = _needed(table, port)
    try:
        return Endpoint(address=ip_address(packed), port=int.from_bytes(number, "big"))
    except ValueError as exc:
        raise ParseError("an address of IPVS is none", repr(packed)) from exc
