# SPDX-License-Identifier: Apache-2.0
"""VRRP configurations of documents, row by row."""

import pytest

from amphora_agent.balancer import keepalived
from amphora_agent.errors import InvalidRequest
from amphora_agent.layout import Layout
from tests.support import keepalived_parser
from tests.support.keepalived_documents import Part, decode
from tests.support.keepalived_parser import Node
from tests.support.keepalived_samples import LISTENER, ONE, TWO, lines, pair

INSTANCE = ("vrrp_instance", "0b0c0d0e000040008000000000000001")


def vrrp(part: Part, amphora: str = ONE) -> Node:
    """The whole file of an amphora as the block of a node without words."""
    text = keepalived.config(decode(part), amphora, "eth1", Layout())
    return Node(words=(), children=keepalived_parser.parse(text))


def instance(part: Part, amphora: str = ONE) -> Node:
    """The VRRP instance."""
    [found] = vrrp(part, amphora).find(*INSTANCE)
    return found


@pytest.mark.parametrize(
    ("group", "expected"),
    [
        ({}, ["script /var/lib/octavia/vrrp/check_script.sh", "interval 5", "fall 2", "rise 2"]),
        (
            {"check_interval_s": 3, "check_fall": 4, "check_rise": 1},
            ["script /var/lib/octavia/vrrp/check_script.sh", "interval 3", "fall 4", "rise 1"],
        ),
    ],
)
def test_vrrp_script_is_run_as_often_as_asked(group: Part, expected: list[str]) -> None:
    """The check script has the interval and the thresholds of the group, or Octavia's."""
    assert lines(vrrp(pair(**group)), "vrrp_script", "check_script") == expected


@pytest.mark.parametrize(
    ("group", "line"),
    [
        ({}, "interface eth1"),
        ({}, "virtual_router_id 1"),
        ({}, "priority 100"),
        ({}, "nopreempt"),
        ({}, "accept"),
        ({}, "garp_master_refresh 5"),
        ({"garp_refresh_interval_s": 0}, "garp_master_refresh 0"),
        ({"garp_refresh_count": 3}, "garp_master_refresh_repeat 3"),
        ({}, "advert_int 1"),
        ({"advert_interval_ms": 40_000}, "advert_int 40"),
        ({"version": 3, "advert_interval_ms": 200}, "advert_int 0.2"),
        ({"version": 3, "advert_interval_ms": 10}, "advert_int 0.01"),
        ({"version": 3, "advert_interval_ms": 39_990}, "advert_int 39.99"),
        ({"version": 3}, "version 3"),
        ({}, "unicast_src_ip 198.51.100.4"),
    ],
)
def test_vrrp_instance_has_a_line(group: Part, line: str) -> None:
    """Each plain directive has the value that the document gives it."""
    assert instance(pair(**group)).find(*line.split())


def test_vrrp_blocks_hold_what_belongs_to_the_amphora() -> None:
    """Peers, VIPs by family, routes, rules and tracked scripts are those of the document."""
    part = instance(pair())
    assert lines(part, "authentication") == ["auth_type PASS", "auth_pass 1a2b3c4"]
    assert lines(part, "unicast_peer") == ["198.51.100.5"]
    assert lines(part, "virtual_ipaddress") == ["198.51.100.9", "198.51.100.10"]
    assert lines(part, "virtual_ipaddress_excluded") == ["2001:db8::9"]
    assert lines(part, "virtual_routes") == [
        "198.51.100.0/24 dev eth1 src 198.51.100.9 scope link table 1",
        "default via 198.51.100.1 dev eth1 onlink table 1",
        "203.0.113.0/24 via 198.51.100.2 dev eth1 onlink table 1",
        "198.51.100.0/24 dev eth1 src 198.51.100.10 scope link table 1",
        "2001:db8::/64 dev eth1 src 2001:db8::9 scope link table 1",
    ]
    assert lines(part, "virtual_rules") == [
        "from 198.51.100.9/32 table 1 priority 100",
        "from 198.51.100.10/32 table 1 priority 100",
        "from 2001:db8::9/128 table 1 priority 100",
    ]
    assert lines(part, "track_script") == ["check_script"]


def test_vrrp_of_the_other_amphora_is_its_mirror() -> None:
    """The backup has its own address and the lower priority, and the master as its peer."""
    part = instance(pair(), TWO)
    assert part.find("unicast_src_ip", "198.51.100.5")
    assert lines(part, "unicast_peer") == ["198.51.100.4"]
    assert part.find("priority", "90")
    chosen = pair()
    chosen["amphorae"][1]["priority"] = 200
    assert instance(chosen, TWO).find("priority", "200")


@pytest.mark.parametrize("group", [{"version": 3}, {"authentication": None}])
def test_vrrp_without_a_password_has_no_authentication(group: Part) -> None:
    """Version 3 has no passwords, and a group without one none either."""
    assert not instance(pair(**group)).find("authentication")
    assert not instance(pair()).find("version")


def test_vrrp_over_ipv6_has_no_authentication() -> None:
    """keepalived speaks version 3 over IPv6, so the password is not handed to it."""
    part = pair()
    for number, amphora in enumerate(part["amphorae"]):
        amphora["vrrp_ip"] = f"2001:db8::{4 + number}"
    found = instance(part)
    assert not found.find("authentication")
    assert lines(found, "virtual_ipaddress") == ["2001:db8::9"]
    assert lines(found, "virtual_ipaddress_excluded") == ["198.51.100.9", "198.51.100.10"]


def test_vrrp_tracks_haproxy_where_it_is_to_run() -> None:
    """The process is watched if it is asked for, and only while a listener needs haproxy."""
    part = pair(track_process=True)
    assert lines(vrrp(part), "vrrp_track_process", "haproxy") == [
        *("process haproxy", "quorum 1", "weight 0"),
    ]
    assert lines(instance(part), "track_process") == ["haproxy"]
    without: list[Part] = [
        pair(),
        part | {"enabled": False},
        part | {"listeners": []},
        part | {"listeners": [part["listeners"][0] | {"enabled": False}]},
        part | {"listeners": [part["listeners"][0] | {"protocol": "UDP"}]},
    ]
    for other in without:
        assert not vrrp(other).find("vrrp_track_process")
        assert not instance(other).find("track_process")


def test_vrrp_watches_the_peer_by_bfd() -> None:
    """With BFD priorities are what they were while both hear each other, and higher before."""
    part = pair(bfd={"interval_ms": 50, "multiplier": 3})
    for amphora, address, peer, priority in (
        (ONE, "198.51.100.4", "198.51.100.5", 254),
        (TWO, "198.51.100.5", "198.51.100.4", 244),
    ):
        assert lines(vrrp(part, amphora), "bfd_instance", "peer") == [
            f"neighbor_ip {peer}",
            f"source_ip {address}",
            *("min_rx 50", "min_tx 50", "multiplier 3", "weight 154 reverse"),
        ]
        assert instance(part, amphora).find("priority", str(priority))
        assert lines(instance(part, amphora), "track_bfd") == ["peer"]


def test_vrrp_of_an_amphora_alone_watches_nobody() -> None:
    """While the peer is rebuilt there is no BFD, and the priority is the usual one."""
    part = pair(bfd={})
    del part["amphorae"][1]
    found = instance(part)
    assert lines(found, "unicast_peer") == []
    assert found.find("priority", "100")
    assert not found.find("track_bfd")
    assert not vrrp(part).find("bfd_instance")


@pytest.mark.parametrize(
    ("group", "told"),
    [
        ({"advert_interval_ms": 1500}, "1500 is not a multiple of 1000"),
        ({"version": 3, "advert_interval_ms": 205}, "205 is not a multiple of 10"),
    ],
)
def test_vrrp_interval_that_the_version_has_not_is_refused(group: Part, told: str) -> None:
    """keepalived would round it: the error names the field and the step."""
    with pytest.raises(InvalidRequest) as caught:
        vrrp(pair(**group))
    assert f"vrrp.advert_interval_ms: {told}" in caught.value.details


def test_vrrp_of_an_amphora_that_is_not_there_is_refused() -> None:
    """The error names the amphora that is missing."""
    with pytest.raises(InvalidRequest) as caught:
        vrrp(pair(), LISTENER)
    assert LISTENER in caught.value.details
