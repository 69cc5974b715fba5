# SPDX-License-Identifier: Apache-2.0
"""IPVS over netlink: answers of a real kernel, beside its own /proc/net/ip_vs as the witness.

tests/golden/ipvs was captured in the image (Linux 6.12): `both` with two members of a UDP listener,
`one-dead` after keepalived had taken one out, `dual` with two VIPs and an SCTP service on IPv6.
"""

import json
import re
import struct
from contextlib import closing
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from amphora_agent import ipvs
from amphora_agent.errors import AgentError, ParseError
from amphora_agent.ipvs import Destination, Endpoint, Service
from amphora_agent.system.ipvs import IpvsTable

GOLDEN = Path(__file__).parent.parent / "golden" / "ipvs"
CAPTURES = ("both", "one-dead", "dual")
SERVICE = Service(
    protocol="UDP",
    endpoint=Endpoint(address=IPv4Address("198.51.100.5"), port=5300),
    connections=4,
    bytes_in=124,
    bytes_out=124,
)
_ROW = re.compile(
    r"(?P<kind>->|\w+) +(?P<address>\[.*\]|[0-9A-F]{8}):(?P<port>[0-9A-F]{4})(?P<rest>.*)"
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Capture:
    """The answers of a kernel, and its table as text."""

    family: bytes
    services: bytes
    destinations: dict[str, bytes]
    text: str


def capture(name: str) -> Capture:
    """What is stored under a name."""
    stored: dict[str, Any] = json.loads((GOLDEN / f"{name}.json").read_text())
    return Capture(
        family=bytes.fromhex(stored["family"]),
        services=bytes.fromhex(stored["services"]),
        destinations={key: bytes.fromhex(text) for key, text in stored["destinations"].items()},
        text=(GOLDEN / f"{name}.ip_vs").read_text(),
    )


def table_of(text: str) -> dict[str, dict[str, tuple[int, int]]]:
    """Weight and active connections of every destination by service, out of /proc/net/ip_vs."""
    services: dict[str, dict[str, tuple[int, int]]] = {}
    name = ""
    for line in text.splitlines()[3:]:
        row = _ROW.match(line.strip())
        assert row is not None
        address = row["address"].strip("[]")
        endpoint = Endpoint(
            address=ip_address(address if ":" in address else int(address, 16)),
            port=int(row["port"], 16),
        )
        if row["kind"] == "->":
            _forward, weight, active, _inactive = row["rest"].split()
            services[name][str(endpoint)] = (int(weight), int(active))
        else:
            name = f"{row['kind']} {endpoint}"
            services[name] = {}
    return services


@pytest.mark.parametrize("name", CAPTURES)
def test_netlink_says_what_proc_says(name: str) -> None:
    """Services, destinations, weights and connections are those of /proc/net/ip_vs."""
    stored = capture(name)
    found = {
        service.name: {
            str(item.endpoint): (item.weight, item.active)
            for item in ipvs.destinations(stored.destinations[service.name], service)
        }
        for service in ipvs.services(stored.services)
    }
    assert found == table_of(stored.text)


def test_service_counts_connections_and_bytes() -> None:
    """Four requests of 31 bytes and four answers, as ipvsadm showed them at the same time."""
    assert ipvs.services(capture("both").services) == [SERVICE]


def test_family_has_a_number() -> None:
    """The number is the one that the requests of the capture were sent with."""
    assert ipvs.family_number(capture("both").family) == 34


def test_dead_member_is_no_destination() -> None:
    """After one member failed its checks only the other one is left."""
    stored = capture("one-dead")
    left = Endpoint(address=IPv4Address("198.51.100.21"), port=5300)
    assert ipvs.destinations(stored.destinations[SERVICE.name], SERVICE) == [
        Destination(endpoint=left, weight=1, active=0, connections=2, bytes_in=62, bytes_out=62)
    ]


def test_destinations_count_what_their_service_counts() -> None:
    """Two members have served two requests each, which are the four of the service."""
    both = ipvs.destinations(capture("both").destinations[SERVICE.name], SERVICE)
    assert [item.connections for item in both] == [2, 2]
    assert sum(item.bytes_in for item in both) == SERVICE.bytes_in
    assert sum(item.bytes_out for item in both) == SERVICE.bytes_out


def test_kernel_without_ipvs_is_told_apart() -> None:
    """ENOENT for the family means that there is none; another error is one."""
    error = struct.pack("=IHHIIi", 20, 2, 0, 0, 0, -2)
    with pytest.raises(LookupError):
        ipvs.family_number(error)
    with pytest.raises(ParseError, match="error 1"):
        ipvs.services(struct.pack("=IHHIIi", 20, 2, 0, 0, 0, -1))


def test_every_cut_answer_is_refused() -> None:
    """An answer that ends within a message is a ParseError, wherever it ends."""
    data = capture("both").services
    first = struct.unpack_from("=I", data)[0]
    for length in range(1, first):
        with pytest.raises(ParseError):
            ipvs.services(data[:length])


def test_missing_attribute_is_named() -> None:
    """A service without its counters is refused, and not reported with zeros."""
    data = bytearray(capture("both").services)
    marker = struct.pack("=H", 12 | 0x8000) if struct.pack("=H", 12 | 0x8000) in data else None
    position = data.index(marker if marker is not None else struct.pack("=HH", 0x7C, 12)[2:])
    data[position : position + 2] = struct.pack("=H", 99)
    with pytest.raises(ParseError, match="attribute"):
        ipvs.services(bytes(data))


@hypothesis_settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), max_size=5))
def test_damaged_answer_raises_nothing_but_parse_error(edits: list[tuple[int, int]]) -> None:
    """Whatever bytes are changed, reading gives services or ParseError (or no IPVS)."""
    data = bytearray(capture("dual").services)
    for position, value in edits:
        data[position % len(data)] = value
    try:
        found = ipvs.services(bytes(data))
    except (ParseError, LookupError):
        return
    assert all(isinstance(item, Service) for item in found)


@hypothesis_settings(deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_raise_nothing_but_parse_error(data: bytes) -> None:
    """Bytes of any kind give no other exception, in no function."""
    for read in (
        ipvs.services,
        ipvs.family_number,
        lambda answer: ipvs.destinations(answer, SERVICE),
        lambda answer: ipvs.is_complete(answer, is_dump=True),
    ):
        try:
            read(data)
        except (ParseError, LookupError):
            continue


def test_dump_is_complete_with_its_last_message() -> None:
    """Without the message that says so a dump is not complete; one answer is by itself."""
    data = capture("both").services
    assert ipvs.is_complete(data, is_dump=True)
    assert not ipvs.is_complete(data[:-20], is_dump=True)
    assert ipvs.is_complete(capture("both").family, is_dump=False)


def test_namespace_that_is_missing_is_an_error_and_not_an_empty_table() -> None:
    """Without the namespace nobody knows what is balanced."""
    with pytest.raises(AgentError, match="IPVS cannot be asked"):
        IpvsTable("no-such-namespace", timeout_s=1.0).read()


def test_answer_that_is_there_is_read_however_late_it_is() -> None:
    """A process that was not run in time takes what the kernel has said."""
    with closing(IpvsTable(None, timeout_s=0.0)) as table:
        # Here there may be an IPVS or not.
        assert isinstance(table.read(), list)
