# SPDX-License-Identifier: Apache-2.0
"""Heartbeats out of packets: put together, opened, and judged."""

import random
import struct
from collections.abc import Sequence
from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amphora_agent.heartbeat import message
from amphora_controller.doctor.findings import Note, Outcome
from amphora_controller.doctor.heard import Hearing, Sent, Silence, of_amphora, sent
from amphora_controller.doctor.keys import variants
from amphora_controller.doctor.options import Address, Endpoint
from amphora_controller.doctor.packets import Assembler, Call
from tests.support.heartbeat_samples import AMPHORA_ID, large_message

AMPHORA = ip_address("192.0.2.10")
BIND = Endpoint(ip_address("192.0.2.1"), 5555)
OTHER = Endpoint(ip_address("192.0.2.2"), 5555)
KEY = "a&b-$c"
WRITTEN = "a&b-$$c"


def datagram(payload: bytes, *, port: int = 5555) -> bytes:
    """A UDP header and its payload."""
    return struct.pack("!HHHH", 40000, port, 8 + len(payload), 0) + payload


def ipv4(
    content: bytes, *, offset: int = 0, more: bool = False, number: int = 7, protocol: int = 17
) -> bytes:
    """An IPv4 packet from the amphora to the controller."""
    return (
        struct.pack(
            "!BBHHHBBH",
            *(0x45, 0, 20 + len(content), number, offset // 8 | 0x2000 * more, 64, protocol, 0),
        )
        + AMPHORA.packed
        + BIND.address.packed
        + content
    )


def ipv6(content: bytes, *, offset: int | None = None, more: bool = False) -> bytes:
    """An IPv6 packet, with a fragment header if there is an offset."""
    following, payload = 17, content
    if offset is not None:
        payload = struct.pack("!BBHI", 17, 0, offset | more, 99) + content
        following = 44
    addresses = ip_address("2001:db8::10").packed + ip_address("2001:db8::1").packed
    return struct.pack("!IHBB", 6 << 28, len(payload), following, 64) + addresses + payload


def cut(content: bytes, size: int) -> list[tuple[int, bool, bytes]]:
    """Offset, whether more follow, and content of fragments."""
    return [
        (begin, begin + size < len(content), content[begin : begin + size])
        for begin in range(0, len(content), size)
    ]


def heartbeat(key: str = KEY, members: int = 1) -> bytes:
    """A datagram as the agent makes it."""
    made = large_message(listeners=1, pools=1, members=members)
    return message.encode(made, key=key)


def notes(hearing: Hearing, silence: Silence | None = None, now_s: float = 10.0) -> Sequence[Note]:
    """What is made of all that was heard."""
    quiet = silence or Silence(window_s=7, period_s=20)
    return list(of_amphora(hearing.sightings, hearing.partials(now_s), BIND, quiet))


def heard(*packets: bytes) -> Hearing:
    """A hearing that took some packets at time 0."""
    made = Hearing(variants=variants(KEY, WRITTEN))
    for packet in packets:
        made.take(packet, 0.0)
    return made


# Packets


@given(
    payload=st.binary(max_size=4000),
    size=st.integers(min_value=1, max_value=180).map(lambda units: units * 8),
    seed=st.integers(),
    version=st.sampled_from([4, 6]),
)
def test_fragments_in_any_order_make_the_datagram(
    payload: bytes, size: int, seed: int, version: int
) -> None:
    """However a datagram is cut, and in whatever order it comes, it is put together once."""
    pieces = cut(datagram(payload), size)
    random.Random(seed).shuffle(pieces)
    assembler = Assembler()
    found = []
    for offset, more, content in pieces:
        packet = (
            ipv4(content, offset=offset, more=more)
            if version == 4
            else ipv6(content, offset=offset, more=more)
        )
        found.append(assembler.take(packet, 0.0))
    assert [item.payload for item in found if item is not None] == [payload]
    assert list(assembler.partials()) == []


@given(packet=st.binary(max_size=100))
def test_no_packet_raises(packet: bytes) -> None:
    """Whatever comes in by the wire is taken or passed over."""
    heard(packet)


def test_other_protocols_are_passed_over() -> None:
    """A TCP segment is no datagram; the same packet as UDP is one."""
    assert Assembler().take(ipv4(datagram(b"x"), protocol=6), 0.0) is None
    assert Assembler().take(ipv4(datagram(b"x")), 0.0) is not None


def test_memory_of_fragments_is_bounded() -> None:
    """Of more than a thousand unfinished datagrams the oldest is forgotten."""
    assembler = Assembler()
    for number in range(1500):
        assembler.take(ipv4(datagram(b"x" * 16), more=True, number=number), 0.0)
    assert len(list(assembler.partials())) == 1000


# Judgement


def test_right_heartbeat_is_ok() -> None:
    """What is signed with the key, and comes to where the health manager listens, is well."""
    (note,) = notes(heard(ipv4(datagram(heartbeat()))))
    assert note.outcome is Outcome.OK
    assert heard(ipv4(datagram(heartbeat()))).sightings[0].amphora_id == AMPHORA_ID


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("another", "signed with another key"),
        ("a&amp;b-$c", "the key escaped for HTML"),
        ("a&amp;amp;b-$c", "the key escaped for HTML twice"),
        (WRITTEN, "`$$` not read as `$`"),
        (f'"{KEY}"', "with quotes around it"),
        ("None", "without heartbeat_key"),
    ],
)
def test_wrong_key_is_told_by_name(key: str, words: str) -> None:
    """What the key has become on its way is told, and that it stands by itself."""
    (note,) = notes(heard(ipv4(datagram(heartbeat(key)))))
    assert note.outcome is Outcome.FAILED
    assert note.is_cause
    assert note.seen.endswith(f"signed with {words}") or words in note.seen


def test_each_key_is_tried_once() -> None:
    """A key without special characters has no variant but quotes and none at all."""
    names = [variant.name for variant in variants("plain", "plain")]
    assert names[0] == ""
    assert len(names) == 4


def test_heartbeat_to_another_port_is_told() -> None:
    """A right heartbeat that the health manager does not get is a failure."""
    (note,) = notes(heard(ipv4(datagram(heartbeat(), port=5556))))
    assert note.outcome is Outcome.FAILED
    assert "they go to 192.0.2.1:5556" in note.seen


def test_lost_fragments_are_told_once_they_are_late() -> None:
    """The first fragment alone is a failure half a second later, and nothing before."""
    offset, more, content = cut(datagram(heartbeat(members=80)), 1480)[0]
    torn = heard(ipv4(content, offset=offset, more=more))
    (note,) = notes(torn)
    assert note.outcome is Outcome.FAILED
    assert "1480 bytes" in note.seen
    (early,) = notes(torn, now_s=0.1)
    assert early.outcome is Outcome.UNKNOWN


def test_traffic_that_is_no_heartbeat_is_not_judged() -> None:
    """A datagram of something else says nothing of heartbeats."""
    assert heard(ipv4(datagram(b"\x12\x34some question", port=53))).sightings == []


def test_ipv6_is_heard_as_well() -> None:
    """A heartbeat over IPv6 has its addresses."""
    (found,) = heard(ipv6(datagram(heartbeat()))).sightings
    assert str(found.destination) == "[2001:db8::1]:5555"


# Silence


def said(count: int, *to: Endpoint, is_silent: bool = False) -> Sent:
    """What an amphora tells: so many to each."""
    return Sent(sent=dict.fromkeys(to, count), is_silent=is_silent)


@pytest.mark.parametrize(
    ("before", "after", "outcome", "words"),
    [
        (None, None, Outcome.UNKNOWN, "none came in 7 s"),
        (said(3, BIND), said(3, BIND), Outcome.UNKNOWN, "sent none to here meanwhile"),
        (said(3, BIND), said(4, BIND), Outcome.FAILED, "lost on the way"),
        (said(3, OTHER), said(4, OTHER), Outcome.FAILED, "not to 192.0.2.1:5555"),
        (None, said(0, BIND, is_silent=True), Outcome.FAILED, "none leaves it"),
    ],
)
def test_silence_is_explained_by_what_the_amphora_tells(
    before: Sent | None, after: Sent | None, outcome: Outcome, words: str
) -> None:
    """Heartbeats that were lost, sent elsewhere, never sent or not yet due are told apart."""
    silence = Silence(window_s=7, period_s=20, before=before, after=after)
    (note,) = notes(heard(), silence)
    assert (note.outcome, words in note.seen) == (outcome, True), note


def test_metrics_of_the_agent_are_read() -> None:
    """Counters by controller, IPv6 included; other lines are passed over."""
    found = sent(
        "# HELP amphora_heartbeats_sent_total …\n"
        'amphora_heartbeats_sent_total{controller="192.0.2.1:5555"} 12\n'
        'amphora_heartbeats_sent_total{controller="[2001:db8::1]:5555"} 3\n'
        'amphora_heartbeats_sent_total{controller="somewhere"} 3\n'
        "amphora_heartbeat_silent 1\n"
        "amphora_build_info 1\n"
    )
    assert found is not None
    ipv6_endpoint: Address = ip_address("2001:db8::1")
    assert found.sent == {BIND: 12, Endpoint(ipv6_endpoint, 5555): 3}
    assert found.is_silent
    assert sent('{"error": "not found"}') is None


def test_address_that_is_looked_for_in_vain_is_told() -> None:
    """An amphora that tells nothing itself shows whom it sends to, if nobody has that address."""
    lost = Silence(window_s=7, period_s=20, looked_for=[OTHER.address])
    (note,) = notes(heard(), lost)
    assert note.outcome is Outcome.FAILED
    assert "looks in vain for 192.0.2.2" in note.seen


def test_questions_of_arp_are_counted() -> None:
    """A request counts by who asks and for whom; an answer and a short packet do not."""
    request = bytes.fromhex("0001080006040001 020000000001 c000020a 000000000000 c0000202")
    reply = request[:7] + b"\x02" + request[8:]
    found = heard(request, request, reply, request[:20]).calls
    assert list(found.items()) == [(Call(source=AMPHORA, wanted=OTHER.address), 2)]
