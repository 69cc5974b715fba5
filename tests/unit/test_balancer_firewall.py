# SPDX-License-Identifier: Apache-2.0
"""The allow-list of a document's VIP."""

from ipaddress import ip_network

from amphora_agent import render
from amphora_agent.balancer import firewall
from amphora_agent.models import FirewallRule, RuleProtocol
from tests.support.keepalived_documents import Part, decode
from tests.support.keepalived_samples import LB, LISTENER, ONE, TWO, pair


def rules(part: Part, amphora: str = ONE) -> list[tuple[str, str | None, int]]:
    """Protocol, source and port of each rule."""
    found = firewall.rules(decode(part), amphora)
    return [
        (rule.protocol, None if rule.cidr is None else str(rule.cidr), rule.port) for rule in found
    ]


def single(*listeners: Part) -> Part:
    """One amphora with listeners."""
    return {
        "id": LB,
        "vip": {"address": "198.51.100.9", "subnet": "198.51.100.0/24"},
        "listeners": [{"id": LISTENER, **listener} for listener in listeners],
    }


def test_each_listener_lets_its_clients_in() -> None:
    """Every network of a listener is a rule of its own, and none means everybody."""
    assert rules(
        single(
            {"protocol": "HTTP", "port": 80},
            {"protocol": "UDP", "port": 53, "allowed_cidrs": ["192.0.2.0/24", "2001:db8::/32"]},
            {"protocol": "SCTP", "port": 9, "enabled": False},
            {"protocol": "PROMETHEUS", "port": 8088, "allowed_cidrs": ["0.0.0.0/0"]},
        )
    ) == [
        ("TCP", None, 80),
        ("UDP", "192.0.2.0/24", 53),
        ("UDP", "2001:db8::/32", 53),
        ("SCTP", None, 9),
        ("TCP", "0.0.0.0/0", 8088),
    ]


def test_amphorae_of_a_pair_let_each_other_in() -> None:
    """VRRP and haproxy's table of sessions come from the other amphora only, and from no third."""
    part = pair()
    del part["listeners"]
    four = [("vrrp", "198.51.100.5/32", 112), ("TCP", "198.51.100.5/32", 1025)]
    assert rules(part) == four
    part["vrrp"]["bfd"] = {}
    assert rules(part) == [*four, ("UDP", "198.51.100.5/32", 3784)]
    part["amphorae"][0]["vrrp_ip"] = "2001:db8::4"
    assert ("vrrp", "2001:db8::4/128", 112) in rules(part, TWO)
    assert rules(part | {"topology": "SINGLE"}) == []


def test_rules_are_those_that_a_controller_sends() -> None:
    """A rule set of nftables comes out of them."""
    [rule] = firewall.rules(decode(single({"protocol": "HTTPS", "port": 443})), ONE)
    assert rule == FirewallRule(protocol=RuleProtocol.TCP, cidr=None, port=443)
    limited = single({"protocol": "TCP", "port": 22, "allowed_cidrs": ["192.0.2.0/24"]})
    [rule] = firewall.rules(decode(limited), ONE)
    assert rule.cidr == ip_network("192.0.2.0/24")
    assert "ip saddr 192.0.2.0/24 tcp dport 22 accept" in render.vip_firewall([rule])
