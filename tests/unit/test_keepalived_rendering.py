# SPDX-License-Identifier: Apache-2.0
"""Documents as configurations of keepalived, row by row, and values that try to be more."""

import random
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from amphora_agent.balancer import keepalived, keepalived_conf, lvs
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.balancer.values import Value
from amphora_agent.errors import InvalidRequest
from amphora_agent.layout import Layout
from tests.support import keepalived_parser
from tests.support.keepalived_documents import Maker, Part, decode
from tests.support.keepalived_parser import ConfigError, Node

LB = "0b0c0d0e-0000-4000-8000-000000000001"
ONE, TWO = "0b0c0d0e-0000-4000-8000-000000000002", "0b0c0d0e-0000-4000-8000-000000000003"
LISTENER = "0b0c0d0e-0000-4000-8000-000000000004"
POOL = "0b0c0d0e-0000-4000-8000-000000000005"
MEMBER, MEMBER_6 = "0b0c0d0e-0000-4000-8000-000000000006", "0b0c0d0e-0000-4000-8000-000000000007"
INSTANCE = ("vrrp_instance", "0b0c0d0e000040008000000000000001")


def pair(**vrrp: object) -> Part:
    """A pair with a VIP of each family."""
    return {
        "id": LB,
        "vip": {
            "address": "198.51.100.9",
            "subnet": "198.51.100.0/24",
            "gateway": "198.51.100.1",
            "host_routes": [{"destination": "203.0.113.0/24", "nexthop": "198.51.100.2"}],
        },
        "additional_vips": [
            {"address": "2001:db8::9", "subnet": "2001:db8::/64"},
            {"address": "198.51.100.10", "subnet": "198.51.100.0/24"},
        ],
        "topology": "ACTIVE_STANDBY",
        "amphorae": [
            {"id": ONE, "vrrp_ip": "198.51.100.4", "role": "MASTER"},
            {"id": TWO, "vrrp_ip": "198.51.100.5", "role": "BACKUP"},
        ],
        "vrrp": {"authentication": "1a2b3c4"} | vrrp,
        "listeners": [{"id": LISTENER, "protocol": "HTTP", "port": 80}],
    }


def vrrp(part: Part, amphora: str = ONE) -> Node:
    """The whole file of an amphora as the block of a node without words."""
    text = keepalived.config(decode(part), amphora, "eth1", Layout())
    return Node(words=(), children=keepalived_parser.parse(text))


def instance(part: Part, amphora: str = ONE) -> Node:
    """The VRRP instance."""
    [found] = vrrp(part, amphora).find(*INSTANCE)
    return found


def lines(node: Node, *block: str) -> list[str]:
    """The lines of a block in a block."""
    [found] = node.find(*block)
    return [" ".join(child.words) for child in found.children or ()]


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


def balancer(
    *, pool: Part | None = None, listener: Part | None = None, **monitor: object
) -> LoadBalancer:
    """A UDP listener on VIPs of both families, with a member of each."""
    made: Part = {
        "id": POOL,
        "protocol": "UDP",
        "members": [
            {"id": MEMBER, "address": "192.0.2.7", "port": 53},
            {"id": MEMBER_6, "address": "2001:db8:1::7", "port": 53},
        ],
    }
    if monitor:
        made["health_monitor"] = monitor
    served: Part = {"id": LISTENER, "protocol": "UDP", "port": 5353, "default_pool": POOL}
    part = pair() | {
        "listeners": [served | (listener or {})],
        "pools": [made | (pool or {})],
    }
    return decode(part)


def udp(document: LoadBalancer) -> Node:
    """The file of the first listener as the block of a node without words."""
    text = lvs.config(document, document.listeners[0], Layout())
    return Node(words=(), children=keepalived_parser.parse(text))


def comments(document: LoadBalancer) -> list[str]:
    """The comments in the file of the first listener."""
    return keepalived_parser.comments(lvs.config(document, document.listeners[0], Layout()))


def server(document: LoadBalancer, family: str = "ipv4-group") -> Node:
    """The virtual server of a family."""
    [found] = udp(document).find("virtual_server", "group", family)
    return found


def checker(document: LoadBalancer, kind: str) -> list[str]:
    """The lines of the check of the IPv4 member."""
    [member] = server(document).find("real_server", "192.0.2.7", "53")
    return lines(member, kind)


def test_lvs_serves_every_vip_of_both_families() -> None:
    """Each family has a group of its VIPs, the primary first, and a server for it."""
    found = udp(balancer())
    assert found.find("net_namespace", "amphora-haproxy")
    assert lines(found, "virtual_server_group", "ipv4-group") == [
        *("198.51.100.9 5353", "198.51.100.10 5353"),
    ]
    assert lines(found, "virtual_server_group", "ipv6-group") == ["2001:db8::9 5353"]
    four, six = (server(balancer(), f"ipv{version}-group") for version in (4, 6))
    assert [node.words[1:] for node in four.find("real_server")] == [("192.0.2.7", "53")]
    assert [node.words[1:] for node in six.find("real_server")] == [("2001:db8:1::7", "53")]
    for line in ("lb_algo wrr", "lb_kind NAT", "protocol UDP"):
        assert four.find(*line.split())
        assert six.find(*line.split())


def test_lvs_comments_name_every_object() -> None:
    """Comments tell which object is which, a member's right before its real_server."""
    document = balancer()
    assert comments(document) == [
        f"Configuration for Loadbalancer {LB}",
        f"Configuration for Listener {LISTENER}",
        f"Configuration for Pool {POOL}",
        f"Configuration for Member {MEMBER}",
        f"Configuration for Pool {POOL}",
        f"Configuration for Member {MEMBER_6}",
    ]
    text = lvs.config(document, document.listeners[0], Layout())
    assert f"# Configuration for Member {MEMBER}\n    real_server 192.0.2.7 53 {{" in text
    # Octavia's agent finds the VIP in the line after this one.
    assert "virtual_server_group ipv4-group {\n    198.51.100.9 5353\n" in text


@pytest.mark.parametrize(
    ("listener", "pool", "last", "groups"),
    [
        ({"enabled": False}, {}, f"Listener {LISTENER} is disabled", 0),
        ({"default_pool": None}, {}, f"Configuration for Listener {LISTENER}", 0),
        ({}, {"enabled": False}, f"Pool {POOL} is disabled", 2),
        ({}, {"members": []}, f"Configuration for Pool {POOL}", 2),
    ],
)
def test_lvs_parts_that_are_off_are_comments(
    listener: Part, pool: Part, last: str, groups: int
) -> None:
    """What is disabled, or not there, is told by a comment and serves nothing."""
    document = balancer(listener=listener, pool=pool)
    assert comments(document)[-1] == last
    assert len(udp(document).find("virtual_server_group")) == groups
    for family in udp(document).find("virtual_server"):
        assert not family.find("real_server")


def test_lvs_member_that_is_off_is_a_comment() -> None:
    """A disabled member has no real_server, and the others keep theirs."""
    members: list[Part] = [
        {"id": MEMBER, "address": "192.0.2.7", "port": 53, "enabled": False},
        {"id": MEMBER_6, "address": "192.0.2.8", "port": 53},
    ]
    document = balancer(pool={"members": members})
    assert comments(document)[3:5] == [
        f"Member {MEMBER} is disabled",
        f"Configuration for Member {MEMBER_6}",
    ]
    assert [node.words[1] for node in server(document).find("real_server")] == ["192.0.2.8"]


def test_lvs_of_a_disabled_load_balancer_serves_nothing() -> None:
    """The header stays and the servers go."""
    part = msgspec.structs.replace(balancer(), enabled=False)
    assert len(comments(part)) == 2
    assert [node.words[0] for node in udp(part).children or ()] == ["net_namespace"]


@pytest.mark.parametrize(
    ("listener", "pool", "line"),
    [
        ({}, {"algorithm": "LEAST_CONNECTIONS"}, "lb_algo lc"),
        ({}, {"algorithm": "SOURCE_IP"}, "lb_algo sh"),
        ({"protocol": "SCTP"}, {"protocol": "SCTP"}, "protocol SCTP"),
        ({}, {"session_persistence": {"type": "SOURCE_IP"}}, "persistence_timeout 360"),
        (
            {},
            {"session_persistence": {"type": "SOURCE_IP", "timeout_s": 7}},
            "persistence_timeout 7",
        ),
        (
            {},
            {"session_persistence": {"type": "SOURCE_IP"}},
            "persistence_granularity 255.255.255.255",
        ),
        (
            {},
            {"session_persistence": {"type": "SOURCE_IP", "granularity": "255.255.0.0"}},
            "persistence_granularity 255.255.0.0",
        ),
        (
            {},
            {"session_persistence": {"type": "SOURCE_IP", "granularity": "64"}},
            "persistence_granularity 255.255.255.255",
        ),
    ],
)
def test_lvs_server_has_a_line(listener: Part, pool: Part, line: str) -> None:
    """Scheduler, protocol and persistence are the document's, each in the family it is of."""
    assert server(balancer(listener=listener, pool=pool)).find(*line.split())


def test_lvs_granularity_of_ipv6_is_a_length() -> None:
    """The IPv6 group has a prefix length, its own or 128, whatever the IPv4 group has."""
    for asked, line in ((None, "128"), ("255.255.0.0", "128"), ("64", "64")):
        persistence: Part = {"type": "SOURCE_IP", "granularity": asked}
        document = balancer(pool={"session_persistence": persistence})
        assert server(document, "ipv6-group").find("persistence_granularity", line)
    assert not server(balancer(), "ipv6-group").find("persistence_timeout")


@pytest.mark.parametrize(
    ("limit", "lines_"),
    [(-1, []), (0, []), (7, ["uthreshold 7"]), (1_000_000, ["uthreshold 1000000"])],
)
def test_lvs_member_has_the_limit_of_the_listener(limit: int, lines_: list[str]) -> None:
    """A limit of connections holds for each member; without one there is no line."""
    document = balancer(listener={"connection_limit": limit})
    assert lines(server(document), "real_server", "192.0.2.7") == ["weight 1", *lines_]


def test_lvs_monitor_sets_the_pace_of_checks() -> None:
    """Delay and threshold of a monitor stand in the server; one that is off leaves no trace."""
    found = server(balancer(type="TCP", delay_s=9, fall_threshold=4))
    for line in ("delay_loop 9", "delay_before_retry 9", "retry 4"):
        assert found.find(*line.split())
    off = balancer(type="TCP", enabled=False)
    assert not server(off).find("delay_loop")
    assert lines(server(off), "real_server", "192.0.2.7") == ["weight 1"]


@pytest.mark.parametrize(
    ("monitor", "kind", "expected"),
    [
        (
            {"type": "UDP-CONNECT", "timeout_s": 4},
            "MISC_CHECK",
            [
                "misc_path /var/lib/octavia/lvs/check/udp_check.sh 192.0.2.7 53",
                "misc_timeout 4",
            ],
        ),
        (
            {"type": "SCTP", "timeout_s": 4},
            "MISC_CHECK",
            ["misc_path amphora-health-checker sctp -t 4 192.0.2.7 53", "misc_timeout 5"],
        ),
        (
            {"type": "TCP", "timeout_s": 4},
            "TCP_CHECK",
            ["connect_ip 192.0.2.7", "connect_port 53", "connect_timeout 4"],
        ),
        (
            {"type": "HTTP", "timeout_s": 4, "expected_codes": "200,202-204"},
            "HTTP_GET",
            ["url", "connect_ip 192.0.2.7", "connect_port 53", "connect_timeout 4"],
        ),
        (
            {"type": "HTTP", "http_version": "1.1", "domain_name": "www.example.org"},
            "HTTP_GET",
            [
                *("http_protocol 1.1", "virtualhost www.example.org", "url"),
                *("connect_ip 192.0.2.7", "connect_port 53", "connect_timeout 3"),
            ],
        ),
    ],
)
def test_lvs_member_is_checked(monitor: dict[str, Any], kind: str, expected: list[str]) -> None:
    """Each type of monitor is the check that keepalived has for it."""
    document = balancer(**monitor)
    assert checker(document, kind) == expected


@pytest.mark.parametrize("monitor", [{"type": "PING"}, {"type": "HTTP", "http_method": "HEAD"}])
def test_lvs_member_is_not_checked_by_what_keepalived_has_not(monitor: dict[str, Any]) -> None:
    """keepalived sends no pings here, and no request but GET."""
    document = balancer(**monitor)
    assert lines(server(document), "real_server", "192.0.2.7") == ["weight 1"]


@pytest.mark.parametrize(
    ("codes", "expected"),
    [
        ("200", "200"),
        ("200,202", "200 202"),
        ("200-204,301,302,404", "200-204 301-302 404"),
        ("599,100-102,101", "100-102 599"),
        ("204-200,200", "200"),
    ],
)
def test_lvs_codes_of_one_request_are_in_one_line(codes: str, expected: str) -> None:
    """keepalived asks one URL after another and wants all well, so all codes belong to one."""
    [member] = server(balancer(type="HTTP", expected_codes=codes)).find("real_server")
    [check] = member.find("HTTP_GET")
    assert lines(check, "url") == ["path /", f"status_code {expected}"]


def test_lvs_codes_that_are_none_are_refused() -> None:
    """A range that goes backwards names no code."""
    with pytest.raises(InvalidRequest, match="Invalid document") as caught:
        udp(balancer(type="HTTP", expected_codes="204-200"))
    assert "'204-200'" in caught.value.details


def test_lvs_monitors_ask_where_they_are_told_to() -> None:
    """Address and port of the monitor take the place of the member's."""
    member: Part = {
        "id": MEMBER,
        "address": "192.0.2.7",
        "port": 53,
        "monitor_address": "192.0.2.99",
        "monitor_port": 8053,
    }
    document = balancer(pool={"members": [member]}, type="TCP")
    assert checker(document, "TCP_CHECK")[:2] == ["connect_ip 192.0.2.99", "connect_port 8053"]
    document = balancer(pool={"members": [member]}, type="UDP-CONNECT")
    assert checker(document, "MISC_CHECK")[0].endswith("udp_check.sh 192.0.2.99 8053")


@pytest.mark.parametrize(
    ("path", "word"),
    [
        ("/a!b#c{d}'e?x=1&y=@2;~", "/a!b#c{d}'e?x=1&y=@2;~"),
        ("/$_PWD/${_HASH}", "/%24_PWD/%24{_HASH}"),
        ("/100%25", "/100%25"),
    ],
)
def test_lvs_path_is_one_word(path: str, word: str) -> None:
    """Marks that mean something to keepalived arrive as part of the path."""
    [member] = server(balancer(type="HTTP", url_path=path)).find("real_server")
    [url] = member.find("HTTP_GET")[0].find("url")
    assert url.find("path")[0].words == ("path", word)


def test_lvs_line_that_keepalived_would_break_is_refused() -> None:
    """The longest path that keepalived reads whole is taken, and one byte more is not."""
    # What stands before it in its line.
    most = keepalived_conf.LINE_MAX_BYTES - len(" " * 16 + "path ")
    assert udp(balancer(type="HTTP", url_path="/" + "a" * (most - 1)))
    with pytest.raises(InvalidRequest, match="Invalid value"):
        udp(balancer(type="HTTP", url_path="/" + "a" * most))
    # As the parser of the tests sees it, there would be another line.
    broken = keepalived_parser.parse(f"path {'a' * 1017} b\nretry 1")
    assert [node.words[0][:5] for node in broken] == ["path", "b", "retry"]


@pytest.mark.parametrize("value", ["", 'a"b', "a\\", "a$b", "a\nb", "é", "a\0"])
def test_word_that_no_quotes_hold_together_is_refused(value: str) -> None:
    """The error shows the value."""
    with pytest.raises(InvalidRequest) as caught:
        keepalived_conf.word(value)
    assert repr(value) in caught.value.details


def test_command_with_a_word_in_quotes_is_refused(tmp_path: Path) -> None:
    """A directory with a space in it is named in the error instead of becoming two arguments."""
    document = balancer(type="UDP-CONNECT")
    layout = Layout(base=tmp_path / "a b")
    with pytest.raises(InvalidRequest) as caught:
        lvs.config(document, document.listeners[0], layout)
    assert "a b" in caught.value.details


# What ends a word, a line, a block or a comment somewhere, and what is replaced or left out.
HOSTILE = (
    *('"', "'", "\\", "#", "!", "{", "}", "$", "@", "~", " ", "\t", "\n", "\r", "\r\n", "\0"),
    *("${_PWD}", "$_RANDOM", "~SEQ(x,1,9)", "@^x ", "$X=\\", "include /etc/passwd", "\\\n", "\x85"),
    *(
        "}\n}\nvrrp_script x {\n script /bin/sh\n}",
        '" misc_path "/bin/sh',
        "\u2028",
        "{}",
        "a" * 1020,
    ),
)


def hostile(dice: random.Random) -> str:
    """A value that somebody made up to be more than one."""
    parts = [
        dice.choice(HOSTILE) if dice.random() < 0.5 else dice.choice(string.ascii_letters)
        for _ in range(dice.randrange(1, 6))
    ]
    return "".join(parts)


# Blocks of addresses, whose lines begin with a value.
_LISTS = {
    *("virtual_ipaddress", "virtual_ipaddress_excluded", "unicast_peer", "virtual_routes"),
    "virtual_server_group",
}


def shape(nodes: tuple[Node, ...]) -> list[Any]:
    """What there is without its values: keywords, how many words follow, what is in the block.

    Of a list, whose order follows from the values, only how many lines have how many words.
    """
    found: list[Any] = []
    for node in nodes:
        inside: list[Any] | None = None
        if node.words[0] in _LISTS:
            inside = sorted(len(child.words) for child in node.children or ())
        elif node.children is not None:
            inside = shape(node.children)
        found.append((node.words[0], len(node.words), inside))
    return found


def shapes(document: LoadBalancer) -> list[Any]:
    """The shapes of a document's files and of their comments; None for one that is refused."""
    found: list[Any] = []
    for render in renderers(document):
        try:
            text = render()
        except (InvalidRequest, KeyError, ValueError):
            found.append(None)
        else:
            said = [len(line.split()) for line in keepalived_parser.comments(text)]
            found.append((shape(keepalived_parser.parse(text)), said))
    return found


def poisoned(part: Any, value: str, places: list[int]) -> Any:
    """A copy with another string at one place, past every check of what may stand there.

    Args:
        places: one number, which is counted down; the string where it becomes 0 is replaced.
    """
    if isinstance(part, msgspec.Struct):
        fields = {
            name: poisoned(getattr(part, name), value, places) for name in part.__struct_fields__
        }
        return type(part)(**fields)
    if isinstance(part, tuple):
        return tuple(poisoned(item, value, places) for item in part)
    # Enumerations are what they are; only text can be anything.
    if isinstance(part, Value) or type(part) is str:
        places[0] -= 1
        if places[0] == 0:
            return type(part)(value)
    return part


def count_strings(part: Any) -> int:
    """How many places there are."""
    places = [0]
    poisoned(part, "", places)
    return -places[0]


def renderers(document: LoadBalancer) -> list[Callable[[], str]]:
    """What renders each file of a document."""
    return [
        lambda: keepalived.config(document, document.amphorae[0].id, "eth1", Layout()),
        lambda: lvs.config(document, document.listeners[0], Layout()),
    ]


def test_hostile_values_never_add_a_block_or_a_line() -> None:
    """Of 50,000 hostile values in all strings of documents, each is refused or stays one word."""
    dice = random.Random(20_261_127)
    maker = Maker(seed=9, beyond=True)
    tried = stayed = refused = 0
    while tried < 50_000:
        document = decode(maker.document())
        if len(document.amphorae) < 2:
            continue
        for place in range(1, count_strings(document) + 1):
            # No address and no code either, but nothing that could be more than a word.
            expected = shapes(poisoned(document, "a", [place]))
            for _ in range(10):
                tried += 1
                value = hostile(dice)
                found = shapes(poisoned(document, value, [place]))
                for one, other in zip(found, expected, strict=True):
                    assert one is None or one == other, repr(value)
                    stayed += one is not None
                    refused += one is None
    assert stayed > 10_000
    assert refused > 10_000


@pytest.mark.parametrize(
    "value",
    ["/\nretry 1", "/ a", "/}\n}\nurl {\n path /", '/"', "/${_PWD}", "/" + "a" * 1200],
)
def test_comparison_sees_a_value_that_is_more_than_one_word(value: str) -> None:
    """A text that holds a hostile value as it is has another shape, or none."""
    document = balancer(type="HTTP", url_path="/here")
    text = lvs.config(document, document.listeners[0], Layout())
    assert text.count("path /here\n") == 2
    changed = text.replace("path /here\n", f"path {value}\n")
    try:
        nodes = keepalived_parser.parse(changed)
    except ConfigError:
        return
    assert shape(nodes) != shape(keepalived_parser.parse(text))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a {\n", "does not end"),
        ("a\n}\n", "did not begin"),
        ("{\n}\n", "without a line"),
        ('path "/a\n', "quote does not end"),
        ("path ${_PWD}\n", "is replaced"),
        ("@x path\n", "conditional"),
        ("$x=1\n", "definition"),
    ],
)
def test_parser_of_the_tests_sees_what_goes_wrong(text: str, told: str) -> None:
    """The parser that judges above refuses what keepalived would refuse or change."""
    with pytest.raises(ConfigError, match=told):
        keepalived_parser.parse(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('path "/a # b {c}" d', [("path", "/a # b {c}", "d")]),
        ("path a#b", [("path", "a")]),
        ('path a"b c"d', [("path", "a", "b c", "d")]),
        ("path a\\#b ! c", [("path", "a#b")]),
        ("  a\tb  ", [("a", "b")]),
    ],
)
def test_parser_of_the_tests_reads_words(text: str, words: list[tuple[str, ...]]) -> None:
    """Quotes, comments and escapes are those of keepalived."""
    assert [node.words for node in keepalived_parser.parse(text)] == words
