# SPDX-License-Identifier: Apache-2.0
"""Configurations of UDP and SCTP listeners of documents, row by row."""

from typing import Any

import msgspec
import pytest

from amphora_agent.balancer import keepalived_conf, lvs
from amphora_agent.balancer.document import LoadBalancer
from amphora_agent.errors import InvalidRequest
from amphora_agent.layout import Layout
from tests.support import keepalived_parser
from tests.support.keepalived_documents import Part
from tests.support.keepalived_parser import Node
from tests.support.keepalived_samples import (
    LB,
    LISTENER,
    MEMBER,
    MEMBER_6,
    POOL,
    balancer,
    lines,
    udp,
)


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
    ],
)
def test_lvs_codes_of_one_request_are_in_one_line(codes: str, expected: str) -> None:
    """keepalived asks one URL after another and wants all well, so all codes belong to one."""
    [member] = server(balancer(type="HTTP", expected_codes=codes)).find("real_server")
    [check] = member.find("HTTP_GET")
    assert lines(check, "url") == ["path /", f"status_code {expected}"]


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
