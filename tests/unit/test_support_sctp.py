# SPDX-License-Identifier: Apache-2.0
"""Members and clients that speak SCTP without a kernel that does."""

from collections.abc import Iterator
from ipaddress import IPv4Address

import pytest

from tests.support import need
from tests.support.netns import Namespace, namespace
from tests.support.sctp_member import Packet, ask, decode, sctp_member

pytestmark = pytest.mark.netns

ADDRESS = IPv4Address("127.0.0.1")
PACKET = Packet(source=1, target=2, tag=3, chunks=((1, bytes(16)), (10, b"odd")))


@pytest.fixture
def inside() -> Iterator[Namespace]:
    """A namespace whose loopback members and clients share."""
    need.root()
    need.programs("ip")
    with namespace("sctp") as made:
        yield made


def test_member_answers_on_its_port_alone(inside: Namespace) -> None:
    """A message is answered; another port and a member that has ended say nothing."""
    with sctp_member(inside, "one", ADDRESS, 7):
        assert ask(inside, ADDRESS, 7) == "one"
        assert ask(inside, ADDRESS, 8) is None
    assert ask(inside, ADDRESS, 7) is None


def test_packet_with_a_wrong_checksum_is_none() -> None:
    """What was encoded is decoded, padding apart; one flipped bit, and it is not."""
    data = PACKET.encode()
    assert decode(data) == PACKET
    assert decode(data[:-4] + bytes((data[-4] ^ 1,)) + data[-3:]) is None
